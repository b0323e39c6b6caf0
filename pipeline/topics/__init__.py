"""Topics: the file that declares them, and bringing a broker in line with it."""

from pipeline.topics.apply import Plan, Right, RightAction, apply, carry_out, make_plan, plan
from pipeline.topics.changes import Action, Change
from pipeline.topics.file import Profile, Topic, TopicFile

__all__ = [
    "Action",
    "Change",
    "Plan",
    "Profile",
    "Right",
    "RightAction",
    "Topic",
    "TopicFile",
    "apply",
    "carry_out",
    "make_plan",
    "plan",
]
