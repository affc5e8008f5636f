"""Timings of the product, as ratios against a reference measured side by side in the same run."""
