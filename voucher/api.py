"""Doors to campaigns and vouchers."""

from datetime import date
from typing import Any

from flask import current_app, request
from flask.views import MethodView

from kernel import clock, jobs
from kernel.doors import ApiBlueprint, json_answer, once, tagged, who
from kernel.errors import Invalid, NotFound
from kernel.ids import as_id
from kernel.kept import keep_answers
from kernel.paging import decode_cursor, part_of
from kernel.schemas import PageArgs, page
from voucher import queries, schemas, services

everyone = ApiBlueprint("api_campaigns", __name__, audience="everyone", url_prefix="/api/v1", description="Campaigns")
member = ApiBlueprint(
    "api_vouchers", __name__, audience="member", url_prefix="/api/v1", description="A member's vouchers"
)
operator = ApiBlueprint(
    "api_issue", __name__, audience="operator", url_prefix="/api/v1/admin", description="Campaigns and issue"
)
keep_answers(everyone)


@everyone.route("/campaigns")
@everyone.arguments(PageArgs, location="query")
@everyone.response(200, page(schemas.Campaign))
def campaigns(args: dict[str, Any]) -> Any:
    """List the campaigns, those open first."""
    after = decode_cursor(args["cursor"])
    found = part_of(queries.campaigns(now=clock.now()), limit=args["limit"], after=after, key=lambda view: view.id)
    return tagged(page(schemas.Campaign)().dump(found))


@everyone.route("/campaigns/<slug>")
@everyone.response(200, schemas.Campaign)
def campaign(slug: str) -> Any:
    """Show a campaign."""
    return tagged(schemas.Campaign().dump(queries.campaign(slug, now=clock.now())))


@member.route("/me/vouchers")
@member.arguments(PageArgs, location="query")
@member.response(200, page(schemas.Voucher))
def vouchers(args: dict[str, Any]) -> Any:
    """List own vouchers."""
    own = queries.vouchers_of(who().member_id, now=clock.now())
    return part_of(own, limit=args["limit"], after=decode_cursor(args["cursor"]), key=lambda view: view.id)


@member.route("/me/vouchers/<voucher_id>/entries")
@member.arguments(PageArgs, location="query")
@member.response(200, page(schemas.Entry))
def entries(args: dict[str, Any], voucher_id: str) -> Any:
    """Show what became of an own voucher, oldest first."""
    rows = queries.entries_of(as_id(voucher_id) or 0, member_id=who().member_id)
    return part_of(rows, limit=args["limit"], after=decode_cursor(args["cursor"]), key=lambda row: row.id)


@member.route("/campaigns/<slug>/claim", methods=["POST"])
@member.response(200, schemas.Voucher)
def claim(slug: str) -> Any:
    """Claim the voucher of a campaign; a second claim returns the same one."""
    is_new = services.claim(slug=slug, member_id=who().member_id, now=clock.now())
    own = queries.vouchers_of(who().member_id, now=clock.now())
    return next(view for view in own if view.campaign == slug), 201 if is_new else 200


def _columns(body: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in body.items() if name != "rule"}, **body.get("rule", {})}


@operator.route("/campaigns", methods=["POST"])
@operator.arguments(schemas.NewCampaign)
@operator.response(201, schemas.AdminCampaign)
def create(body: dict[str, Any]) -> Any:
    """Make a campaign."""
    services.create_campaign(details=_columns(body), actor_id=who().person_id, now=clock.now())
    return queries.campaign(body["slug"], now=clock.now())


@operator.route("/campaigns/<slug>")
class OneCampaign(MethodView):
    """A campaign in an operator's hands."""

    @operator.response(200, schemas.AdminCampaign)
    def get(self, slug: str) -> Any:
        """Show a campaign with its budgets."""
        return queries.campaign(slug, now=clock.now())

    @operator.arguments(schemas.CampaignChange)
    @operator.response(200, schemas.AdminCampaign)
    def patch(self, body: dict[str, Any], slug: str) -> Any:
        """Change what may still change."""
        services.change_campaign(slug=slug, changes=_columns(body), actor_id=who().person_id, now=clock.now())
        return queries.campaign(slug, now=clock.now())


@operator.route("/campaigns/<slug>/versions")
@operator.response(200, schemas.VersionList)
def versions(slug: str) -> Any:
    """List every version of a campaign's settings, the latest first."""
    return {"items": queries.versions(queries.campaign(slug, now=clock.now()).id)}


@operator.route("/campaigns/<slug>/issue", methods=["POST"])
@operator.arguments(schemas.Issue)
@operator.response(202, schemas.IssueJob)
def issue(body: dict[str, Any], slug: str) -> Any:
    """Start issuing vouchers to an audience; repeating it issues to nobody twice."""
    chosen = {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in body["audience"].items()
        if value
    }
    if len(chosen) != 1:
        message = "请选择一种发放对象。"
        raise Invalid(message, errors={"audience": [message]})
    answer = services.ask_to_issue(
        slug=slug,
        audience=services.audience_of(chosen),
        arguments=chosen,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 202))


@operator.route("/vouchers/<voucher_id>/revoke", methods=["POST"])
@operator.arguments(schemas.Revoke)
@operator.response(200, schemas.Voucher)
def revoke(body: dict[str, Any], voucher_id: str) -> Any:
    """Take back what a voucher has not spent; doing it twice changes nothing."""
    return services.revoke(
        voucher_id=as_id(voucher_id), reason=body["reason"], actor_id=who().person_id, now=clock.now()
    )


@operator.route("/jobs/<job_id>")
@operator.response(200, schemas.Job)
def job(job_id: str) -> Any:
    """Say how far a job is."""
    found = jobs.find(as_id(job_id) or 0)
    if found is None:
        raise NotFound("没有这个任务。")
    return found
