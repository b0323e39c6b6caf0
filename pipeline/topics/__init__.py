"""Topics: the file that declares them, and bringing a broker in line with it."""

from pipeline.topics.apply import Action, Change, apply, plan
from pipeline.topics.file import Profile, Topic, TopicFile

__all__ = ["Action", "Change", "Profile", "Topic", "TopicFile", "apply", "plan"]
