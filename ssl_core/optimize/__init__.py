"""Optimizers, schedules, and everything that crosses workers."""
