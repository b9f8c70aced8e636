"""What people need objects for: the table of needs, and the classes of object that serve each.

A class that a need names neither under `serves` nor under `debatable` does not serve it.
"""

from lisa_ros.sim.needs.home import HOME
from lisa_ros.sim.needs.kitchen import KITCHEN
from lisa_ros.sim.needs.need import Need
from lisa_ros.sim.needs.person import PERSON
from lisa_ros.sim.needs.workshop import WORKSHOP

NEEDS: tuple[Need, ...] = (*KITCHEN, *WORKSHOP, *HOME, *PERSON)

__all__ = ["NEEDS", "Need"]
