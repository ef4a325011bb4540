//! What an operator may ask for. Never reads a clock, a file or a socket.

pub mod definition;
pub mod problem;
pub mod rule;
pub mod settings;

pub use definition::{Change, Definition, Name};
pub use problem::{Place, Problem, Severity};
pub use settings::Settings;
