"""The functions of these tests."""

from tests.functions.deployments import deployment

__all__ = ["deployment"]
