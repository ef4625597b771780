"""HTTP: routes, error mapping and replies; the only package that knows the wire's protocol."""
