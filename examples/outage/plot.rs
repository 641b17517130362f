//! The drawing: three plots above each other, on one axis of time.

use std::fmt::Write;

use crate::samples::{Sample, quantile, rate};

/// Something that went on for a while.
pub(crate) struct Event {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) text: &'static str,
}

struct Plot<'a> {
    title: &'a str,
    scale: Scale,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    name: &'a str,
    class: &'a str,
    points: Vec<(f64, f64)>,
}

enum Scale {
    /// From 0 on, with marks this far apart.
    Linear { most: f64, step: f64 },
    /// Powers of ten.
    Logarithmic { least: i32, most: i32 },
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 846.0;
const TOP: f64 = 34.0;
const HEIGHT: f64 = 130.0;
const GAP: f64 = 24.0;

pub(crate) fn draw(samples: &[Sample], events: &[Event], end: f64) -> String {
    let key = |place: &str| rate(samples, &format!("countersign_key_uses_total{{app=\"demo\",key=\"#{place}\"}}"));
    let requests =
        |code: &str| rate(samples, &format!("countersign_requests_total{{code=\"{code}\",enforced=\"true\"}}"));
    let verify = |share, verdict: &str| {
        let label = format!("verdict=\"{verdict}\"");
        let seconds = quantile(samples, share, "countersign_verify_seconds", &label);
        seconds.into_iter().map(|(at, seconds)| (at, seconds * 1000.0)).collect()
    };
    let line = |name, class, points| Line { name, class, points };
    let per_second = || Scale::Linear { most: 360.0, step: 100.0 };
    let plots = [
        Plot {
            title: "let in, per second",
            scale: per_second(),
            lines: vec![line("by the old key", "a", key("1")), line("by the new key", "b", key("0"))],
        },
        Plot {
            title: "refused, per second",
            scale: per_second(),
            lines: vec![
                line("503 unavailable", "c", requests("unavailable")),
                line("401 replayed_nonce", "d", requests("replayed_nonce")),
            ],
        },
        Plot {
            title: "time to verify, ms",
            scale: Scale::Logarithmic { least: -2, most: 3 },
            lines: vec![
                line("let in, median", "b", verify(0.5, "verified")),
                line("let in, p99", "a", verify(0.99, "verified")),
                line("refused, p99", "c", verify(0.99, "refused")),
            ],
        },
    ];
    let bottom = TOP + plots.len() as f64 * (HEIGHT + GAP) - GAP;
    let height = bottom + 30.0;
    let x = |at: f64| LEFT + (RIGHT - LEFT) * at / end;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"countersign\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{}\">\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        "Requests let in, requests refused and time to verify, while Redis is killed, hangs, and clients change keys"
    );
    for event in events {
        let (from, to) = (x(event.from), x(event.to));
        let _ = writeln!(
            svg,
            "<rect class=\"event\" x=\"{from:.1}\" y=\"20\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <text class=\"label\" x=\"{:.1}\" y=\"14\">{}</text>",
            to - from,
            bottom - 20.0,
            (from + to) / 2.0,
            event.text
        );
    }
    for (plot, number) in plots.iter().zip(0..) {
        plot.draw(&mut svg, TOP + f64::from(number) * (HEIGHT + GAP), x);
    }
    for at in (0..=end as u32).step_by(5) {
        let (x, y) = (x(at.into()), bottom + 18.0);
        let _ = writeln!(svg, "<text class=\"label\" x=\"{x:.1}\" y=\"{y}\">{at} s</text>");
    }
    svg + "</svg>\n"
}

impl Plot<'_> {
    fn draw(&self, svg: &mut String, top: f64, x: impl Fn(f64) -> f64) {
        // The title and the names of the lines have a row of their own.
        let (top, height) = (top + 20.0, HEIGHT - 20.0);
        let y = |value: f64| top + height * (1.0 - self.scale.place(value));
        for (mark, text) in self.scale.marks() {
            let y = y(mark);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text class=\"mark\" x=\"{}\" y=\"{:.1}\">{text}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let mut legend =
            format!("<text x=\"{LEFT}\" y=\"{}\"><tspan class=\"title\">{}</tspan>", top - 6.0, self.title);
        for line in &self.lines {
            let _ = write!(legend, "<tspan dx=\"18\" class=\"name {}\">— {}</tspan>", line.class, line.name);
            let mut path = String::new();
            let mut last = f64::NEG_INFINITY;
            for &(at, value) in &line.points {
                // A line does not go on where nothing was measured.
                let command = if at - last > 0.6 { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", x(at), y(value));
                last = at;
            }
            let _ = writeln!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
        }
        let _ = writeln!(svg, "{legend}</text>");
    }
}

impl Scale {
    /// From 0 at the bottom to 1 at the top.
    fn place(&self, value: f64) -> f64 {
        let share = match *self {
            Self::Linear { most, .. } => value / most,
            Self::Logarithmic { least, most } => (value.log10() - f64::from(least)) / f64::from(most - least),
        };
        share.clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<(f64, String)> {
        match *self {
            Self::Linear { most, step } => {
                (0..=(most / step) as u32).map(|i| step * f64::from(i)).map(|mark| (mark, mark.to_string())).collect()
            }
            Self::Logarithmic { least, most } => {
                (least..=most).map(|power| 10f64.powi(power)).map(|mark| (mark, mark.to_string())).collect()
            }
        }
    }
}

/// Its classes stand below one of the drawing's own, for pages that it becomes part of.
const STYLE: &str = "\
.countersign text{font:13px system-ui,sans-serif;fill:#1f2328}\
.countersign .paper{fill:#fff}\
.countersign .event{fill:#d0d7de;opacity:.45}\
.countersign .grid{stroke:#8c959f;stroke-opacity:.35;fill:none}\
.countersign .label{text-anchor:middle}\
.countersign .mark{text-anchor:end;font-size:12px}\
.countersign .title{font-weight:600}\
.countersign .line{fill:none;stroke-width:2;stroke-linejoin:round}\
.countersign .a{stroke:#0969da}.countersign .b{stroke:#1a7f37}\
.countersign .c{stroke:#cf222e}.countersign .d{stroke:#9a6700}\
.countersign .name{stroke:none}\
.countersign .name.a{fill:#0969da}.countersign .name.b{fill:#1a7f37}\
.countersign .name.c{fill:#cf222e}.countersign .name.d{fill:#9a6700}\
@media(prefers-color-scheme:dark){\
.countersign text{fill:#e6edf3}.countersign .paper{fill:#0d1117}.countersign .event{fill:#484f58}\
.countersign .a{stroke:#58a6ff}.countersign .b{stroke:#3fb950}\
.countersign .c{stroke:#ff7b72}.countersign .d{stroke:#d29922}\
.countersign .name{stroke:none}\
.countersign .name.a{fill:#58a6ff}.countersign .name.b{fill:#3fb950}\
.countersign .name.c{fill:#ff7b72}.countersign .name.d{fill:#d29922}}";
