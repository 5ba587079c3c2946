"""oslo.messaging on zmqrpc's driver, beside RabbitMQ and beside its own ``fake://``; ``bench/README.rst`` says how."""
