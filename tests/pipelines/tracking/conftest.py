"""Fixtures that two files here share."""

from tests.pipelines.tracking.test_provenance import checkout

__all__ = ["checkout"]
