"""
The driver of oslo.messaging: services that speak it give up their broker by changing ``transport_url``.

Nothing is imported here: an application may patch the standard library (eventlet) until it loads the driver.
"""
