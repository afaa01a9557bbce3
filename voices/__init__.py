"""声音: what is said around packs and orders: announcements, help, questions with their answers, ratings."""
