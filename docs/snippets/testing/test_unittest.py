import unittest

from app import app

from flask_sse.testing import capture


class VotesTest(unittest.TestCase):
    def test_a_vote_is_published(self) -> None:
        with capture() as events:
            app.test_client().post("/votes/coffee")
            self.assertEqual(events.one(type="votes").channel, "sse")
