//! A glyph and a colour for each state word; the word always stands beside them.

/// What a state means to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Active,
    Waiting,
    Held,
    Muted,
}

impl Tone {
    /// The colour on a terminal.
    pub(crate) const fn color(self) -> comfy_table::Color {
        use comfy_table::Color;
        match self {
            Self::Good => Color::Green,
            Self::Bad => Color::Red,
            Self::Active => Color::Cyan,
            Self::Waiting | Self::Held => Color::Yellow,
            Self::Muted => Color::DarkGrey,
        }
    }
    /// The same colour for text outside a table.
    pub(crate) const fn style(self) -> anstyle::Style {
        use anstyle::{AnsiColor, Style};
        let color = match self {
            Self::Good => AnsiColor::Green,
            Self::Bad => AnsiColor::Red,
            Self::Active => AnsiColor::Cyan,
            Self::Waiting | Self::Held => AnsiColor::Yellow,
            Self::Muted => AnsiColor::BrightBlack,
        };
        Style::new().fg_color(Some(anstyle::Color::Ansi(color)))
    }
}

/// The tone of a state word of any entity.
pub(crate) fn tone(state: &str) -> Tone {
    match state {
        "succeeded" | "ready" | "serving" | "ok" | "pass" | "promoted" | "approved" | "open"
        | "sealed" | "served" | "leader" => Tone::Good,
        "failed" | "failure" | "error" | "fail" | "lost" | "rejected" | "refused"
        | "rolled_back" | "cannot_test" | "wedged" | "revoked" | "full" => Tone::Bad,
        "running" | "starting" | "preparing" | "placed" | "canary" | "warming" | "sealing"
        | "cancelling" => Tone::Active,
        "queued" | "waiting" | "unknown" | "unreachable" | "inconclusive" | "warn" => Tone::Waiting,
        "cordoned" | "draining" | "paused" | "warm" | "reserve" => Tone::Held,
        _ => Tone::Muted,
    }
}

/// The glyph of a state word.
pub(crate) fn glyph(state: &str) -> &'static str {
    match tone(state) {
        Tone::Good => "✓",
        Tone::Bad => "✗",
        Tone::Active => "●",
        Tone::Waiting => "◌",
        Tone::Held => "⏸",
        Tone::Muted => "–",
    }
}
