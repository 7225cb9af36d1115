//! The listener and the clients, over real sockets.

mod a19_mitm;
mod a20_roles;
mod a37_limits;
mod a38_half_open;
mod a38_silent;
mod a40_versions;
mod channels;
mod f42_dates;
mod group;
mod renewal;
