"""From a committed order plan to the venue and back: the order gateway and its paper broker."""
