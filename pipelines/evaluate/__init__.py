"""Frozen-feature evaluation of an encoder beside its floors."""
