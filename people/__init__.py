"""会员与组织: members, grassroots unions, merchants as organizations, seats, sign-in, tokens."""
