//! A whole broker on a real disk, asked as a front end asks it.

mod data_dir;
mod limits;
mod produce;
mod read;
mod rot;
mod running;
mod stop;
mod topics;
