from tests.contract.operations import Operation
from tests.contract.people import World, slots_of


async def test_every_operation_has_its_objects(
    world: World, operations: tuple[Operation, ...]
) -> None:
    for operation in operations:
        for slot in slots_of(operation):
            for circle in world.circles:
                assert circle.thing(slot)
