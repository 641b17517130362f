//! Three plots above each other, with one time axis.

use std::fs;

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    ALL_ROTATED, END, Error, FIRST_ROTATED, FROZEN, KILLED, RESTARTED, THAWED,
    samples::{Sample, quantile, rate},
};

const SIZE: (u32, u32) = (860, 540);
const LABEL: &str =
    "Requests accepted, requests rejected and time to verify, while Redis fails and clients change keys";
const FONT: &str = "system-ui,sans-serif";
const GRAY: RGBColor = RGBColor(140, 149, 159);
const BLUE: RGBColor = RGBColor(9, 105, 218);
const GREEN: RGBColor = RGBColor(26, 127, 55);
const RED: RGBColor = RGBColor(207, 34, 46);
const BROWN: RGBColor = RGBColor(154, 103, 0);

const EVENTS: [(f64, f64, &str); 3] = [
    (KILLED, RESTARTED, "Redis is killed"),
    (FROZEN, THAWED, "Redis hangs"),
    (FIRST_ROTATED, ALL_ROTATED, "clients change keys"),
];

type Line<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

pub(crate) fn draw(path: &str, samples: &[Sample]) -> Result<(), Error> {
    let key = |place: u32| rate(samples, &format!("countersign_key_uses_total{{app=\"demo\",key=\"#{place}\"}}"));
    let code = |code| rate(samples, &format!("countersign_requests_total{{code=\"{code}\",enforced=\"true\"}}"));
    let milliseconds = |share, verdict| {
        let points = quantile(samples, share, "countersign_verify_seconds", &format!("verdict=\"{verdict}\""));
        points.into_iter().map(|(at, seconds)| (at, seconds * 1000.0)).collect()
    };
    let accepted = [("old key", BLUE, key(1)), ("new key", GREEN, key(0))];
    let rejected =
        [("503 unavailable", RED, code("unavailable")), ("401 replayed_nonce", BROWN, code("replayed_nonce"))];
    let time = [
        ("accepted, median", GREEN, milliseconds(0.5, "verified")),
        ("accepted, p99", BLUE, milliseconds(0.99, "verified")),
        ("rejected, p99", RED, milliseconds(0.99, "refused")),
    ];

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let areas = root.split_evenly((3, 1));
        plot(&areas[0], "accepted per second", 0.0..360.0, &accepted)?;
        plot(&areas[1], "rejected per second", 0.0..360.0, &rejected)?;
        plot(&areas[2], "time to verify, ms", (0.01..1000.0).log_scale(), &time)?;
        root.present()?;
    }
    // Without a size, the picture fits the width of the page.
    let size = format!("width=\"{}\" height=\"{}\"", SIZE.0, SIZE.1);
    Ok(fs::write(path, svg.replacen(&size, &format!("role=\"img\" aria-label=\"{LABEL}\""), 1))?)
}

fn plot<Y>(area: &DrawingArea<SVGBackend, Shift>, title: &str, range: Y, lines: &[Line]) -> Result<(), Error>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_top(20)
        .margin_right(150)
        .x_label_area_size(22)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..END, range)?;
    chart
        .configure_mesh()
        .label_style((FONT, 12))
        .x_labels(9)
        .y_labels(6)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|at| format!("{at} s"))
        .y_label_formatter(&f64::to_string)
        .draw()?;
    let (bottom, top) = (chart.y_range().start, chart.y_range().end);
    for (from, to, name) in EVENTS {
        let style = (FONT, 12).into_text_style(area).pos(Pos::new(HPos::Center, VPos::Bottom));
        chart.draw_series([Rectangle::new([(from, bottom), (to, top)], GRAY.mix(0.25).filled())])?;
        chart.draw_series([Text::new(name, ((from + to) / 2.0, top), style)])?;
    }
    let legend = |text: String, row, color| {
        let place = (SIZE.0 as i32 - 145, 20 + 20 * row);
        area.draw(&Text::new(text, place, (FONT, 13).into_font().color(color)))
    };
    legend(title.into(), 0, &BLACK)?;
    for ((name, color, points), row) in lines.iter().zip(1..) {
        // A line has a gap where nothing was measured.
        for part in points.chunk_by(|a, b| b.0 - a.0 < 0.6) {
            chart.draw_series(LineSeries::new(part.iter().copied(), color.stroke_width(2)))?;
        }
        legend(format!("— {name}"), row, color)?;
    }
    Ok(())
}
