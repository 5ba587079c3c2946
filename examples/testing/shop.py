from zmqrpc import Target
from zmqrpc.errors import DeliveryError, RemoteError

STOCK = Target("stock")


class Shop:
    def __init__(self, client):
        self.client = client

    async def order(self, article):
        try:
            left = await self.client.call(STOCK, "take", {"article": article}, timeout=5)
        except RemoteError as error:
            return "sold out" if error.type_name == "SoldOut" else "broken"
        except DeliveryError as error:
            return "perhaps ordered" if error.maybe_executed else "not ordered, try again"
        return f"ordered, {left} left"
