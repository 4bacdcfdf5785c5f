"""What stands between a socket and the routes.

exchange: one request on its way; interrupt: ending it from outside; keys: who asks; bucket, limits: how
often; queue: how many at once; gateway: all of them together; middleware: the way in and out; receive: what
a client sends, and how fast; protocol: the same for bytes that are no request yet; metrics, log: what is
told; supervise: the engine behind it.
"""
