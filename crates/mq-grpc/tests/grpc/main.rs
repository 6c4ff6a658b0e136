//! The whole front end on a real broker, asked over a real connection.

mod admin;
mod cluster;
mod every_call;
mod fetch;
mod fetch_stream;
mod list_offsets;
mod produce;
mod produce_stream;
mod read;
mod running;
mod stop;
