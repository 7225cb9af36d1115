//! Everything that is printed: data on stdout, the rest on stderr, in the format asked for.

mod color;
mod csv;
mod error;
mod glyph;
mod items;
mod logging;
mod markdown;
mod printer;
mod progress;
mod sanitise;
mod stage_words;
mod table;
mod template;
mod units;
mod view;
mod yaml;

pub(crate) use color::ColorChoice;
pub(crate) use error::report;
pub(crate) use glyph::{Tone, glyph, tone};
pub(crate) use items::Items;
pub(crate) use logging::start_logging;
pub(crate) use markdown::escape as escape_markdown;
pub(crate) use printer::{Choices, Look, Printer};
pub(crate) use progress::{Bytes, Progress, ProgressChoice};
pub(crate) use sanitise::{Sanitiser, plain};
pub(crate) use table::{Cell, Column, Table};
pub(crate) use units::{age, bytes, cpus, duration, number, percent, time};
pub(crate) use view::{Format, FormatParser, List, Output, json_of};
