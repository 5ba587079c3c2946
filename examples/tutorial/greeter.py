from zmqrpc import expose


class Greeter:
    def __init__(self):
        self.greeted = []

    @expose
    def hello(self, context, name):
        self.greeted.append(name)
        return f"Hello, {name}!"

    @expose
    def list_greeted(self, context):
        return self.greeted

    @expose
    def forget(self, context):
        self.greeted.clear()
