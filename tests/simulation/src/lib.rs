//! Deterministic simulation of a whole cluster on one thread.
