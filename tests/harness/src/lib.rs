//! Starts real clusters of processes for tests.
