from zmqrpc import expose


class SoldOut(Exception):
    pass


class Stock:
    def __init__(self, **articles):
        self.articles = articles

    @expose
    def take(self, context, article, count=1):
        if self.articles.get(article, 0) < count:
            raise SoldOut(article)
        self.articles[article] -= count
        return self.articles[article]
