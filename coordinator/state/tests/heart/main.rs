//! The state machine as its users see it: commands in, answers, events and a state that holds in.

mod aliases;
mod attempts;
mod cancels;
mod chains;
mod deployments;
mod env;
mod events;
mod following;
mod gangs;
mod gates;
mod keys;
mod laws;
mod nodes;
mod pipelines;
mod properties;
mod retries;
mod runs;
mod seals;
