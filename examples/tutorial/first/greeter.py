from zmqrpc import expose


class Greeter:
    @expose
    def hello(self, context, name):
        return f"Hello, {name}!"
