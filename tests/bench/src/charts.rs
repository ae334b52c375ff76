//! Charts of the scoreboard, as SVG files that a browser shows.
//!
//! Neighbours: [`curves`](crate::curves) has what is measured for charts only, [`Line`] the rest.
//! Each chart says what is drawn, in which unit, and on which side the good values are.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::board::Line;
use super::curves::{Curve, Hits, Panel};
use super::measure::Role;

const SIZE: (u32, u32) = (960, 600);
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Ours is blue everywhere; the others are told apart without red and green alone.
fn colour(name: &str) -> RGBColor {
    match name {
        "Faultless" | "hot" => RGBColor(0, 90, 200),
        "limit" | "Belady" => RGBColor(120, 120, 120),
        "copy" => RGBColor(0, 0, 0),
        "BTreeMap" | "S3-FIFO" => RGBColor(230, 140, 0),
        "+ bounce" | "Clock2Q+" => RGBColor(200, 70, 130),
        "tmpfs" | "LRU" => RGBColor(0, 150, 110),
        "huge tmpfs" => RGBColor(100, 190, 220),
        _ => RGBColor(130, 80, 180),
    }
}

/// Writes all charts into a folder, which is made if need be.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(
    folder: &Path,
    lines: &[Line],
    cost: &Panel,
    flat: &[Curve],
    hits: &[Hits],
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let draw = |name: &str, chart: &dyn Fn(&Path) -> Result<()>| {
        let path = folder.join(name);
        chart(&path).with_context(|| format!("{}", path.display()))
    };
    draw("cost.svg", &|path| curves(path, cost))?;
    draw("flatness.svg", &|path| flatness(path, flat))?;
    draw("scaling.svg", &|path| scaling(path, lines))?;
    draw("rivals.svg", &|path| rivals(path, lines))?;
    draw("hits.svg", &|path| hit_ratios(path, hits))
}

/// A drawing error as one that can be reported.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

/// The least range that holds the values, with some room.
fn range(values: impl Iterator<Item = f64>, room: f64) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { 0.5..2.0 } else { low / room..high * room }
}

fn bytes(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [
        (1_099_511_627_776.0, "TiB"),
        (1_073_741_824.0, "GiB"),
        (1_048_576.0, "MiB"),
        (1024.0, "KiB"),
    ];
    let unit = UNITS.iter().find(|(unit, _)| value >= *unit);
    unit.map_or_else(
        || format!("{value:.0} B"),
        |(size, name)| format!("{:.0} {name}", value / size),
    )
}

/// Lines over sizes, both axes logarithmic.
fn curves(path: &Path, panel: &Panel) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let across = range(points().map(|(x, _)| *x), 1.3);
    let up = range(points().map(|(_, y)| *y), 1.25);
    let mut chart = ChartBuilder::on(&root)
        .caption(panel.title, (FONT, 22).into_font().color(&INK))
        .margin(20)
        .x_label_area_size(50)
        .y_label_area_size(70)
        .build_cartesian_2d(across.log_scale().base(2.0), up.log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(panel.across)
        .y_desc(panel.up)
        .label_style((FONT, 14).into_font().color(&INK))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_labels(panel.labels)
        .x_label_formatter(&|value| bytes(*value))
        .y_label_formatter(&|value| short(*value))
        .draw()
        .map_err(failed)?;
    for Curve { name, points } in &panel.curves {
        let style = colour(name).stroke_width(if *name == "Faultless" { 4 } else { 2 });
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(failed)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 24, y)], style));
        let dots = points.iter().map(|point| Circle::new(*point, 3, colour(name).filled()));
        chart.draw_series(dots).map_err(failed)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 15).into_font().color(&INK))
        .background_style(WHITE.mix(0.9))
        .border_style(GRID)
        .draw()
        .map_err(failed)?;
    root.present().map_err(failed)
}

fn short(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// A bar: its length, its colour and what is written behind it.
struct Bar {
    value: f64,
    colour: RGBColor,
    text: String,
}

/// Bars in groups, one below the other, from 0 on, with a rule at `rule`.
struct Bars {
    title: &'static str,
    across: &'static str,
    rule: f64,
    groups: Vec<(String, Vec<Bar>)>,
}

impl Bars {
    fn draw(&self, path: &Path) -> Result<()> {
        /// Pixels of a bar, and between groups.
        const BAR: u32 = 18;
        const GAP: u32 = 14;
        let bars: usize = self.groups.iter().map(|(_, bars)| bars.len()).sum();
        let height = bars as u32 * BAR + self.groups.len() as u32 * GAP;
        let root = SVGBackend::new(path, (SIZE.0, height + 110)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let values = self.groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.value);
        let most = values.fold(self.rule, f64::max) * 1.35;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, (FONT, 22).into_font().color(&INK))
            .margin(16)
            .margin_left(300)
            .x_label_area_size(46)
            .build_cartesian_2d(0.0..most, f64::from(height)..0.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(self.across)
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .label_style((FONT, 14).into_font().color(&INK))
            .draw()
            .map_err(failed)?;
        let small = || (FONT, 13).into_font().color(&INK);
        let mut top = f64::from(GAP) / 2.0;
        let left = chart.plotting_area().get_pixel_range().0.start;
        for (name, bars) in &self.groups {
            let (_, y) = chart.backend_coord(&(0.0, top));
            let middle = y + (bars.len() as u32 * BAR) as i32 / 2 - 7;
            root.draw(&Text::new(name.clone(), (16, middle), small())).map_err(failed)?;
            for bar in bars {
                let bottom = top + f64::from(BAR) - 4.0;
                let corners = [(0.0, top), (bar.value, bottom)];
                let rectangle = Rectangle::new(corners, bar.colour.filled());
                chart.draw_series([rectangle]).map_err(failed)?;
                let (x, y) = chart.backend_coord(&(bar.value, top));
                let at = (x.max(left) + 6, y + 1);
                root.draw(&Text::new(bar.text.clone(), at, small())).map_err(failed)?;
                top += f64::from(BAR);
            }
            top += f64::from(GAP);
        }
        let ends = [(self.rule, 0.0), (self.rule, f64::from(height))];
        let rule = PathElement::new(ends.to_vec(), INK.stroke_width(1));
        chart.draw_series([rule]).map_err(failed)?;
        root.present().map_err(failed)
    }
}

/// A row's title, with what must be known of its figures.
fn titled(line: &Line) -> String {
    let void = if line.void.is_some() { " (void)" } else { "" };
    format!("{}{void}", line.title)
}

/// Far behind in a file, of the same at its beginning.
fn flatness(path: &Path, curves: &[Curve]) -> Result<()> {
    let offsets = curves.first().map_or(&[][..], |curve| &curve.points);
    let group = |(at, (offset, _)): (usize, &(f64, f64))| {
        let bar = |curve: &Curve| {
            let (_, value) = *curve.points.get(at)?;
            let text = format!("{} {value:.2}", curve.name);
            Some(Bar { value, colour: colour(curve.name), text })
        };
        (format!("at {}", bytes(*offset)), curves.iter().filter_map(bar).collect())
    };
    let bars = Bars {
        title: "A 4 KiB overwrite far behind in a sparse file: 1 is flat",
        across: "times the same at the beginning of a small file",
        rule: 1.0,
        groups: offsets.iter().enumerate().map(group).collect(),
    };
    bars.draw(path)
}

/// What two threads do, of what one does.
fn scaling(path: &Path, lines: &[Line]) -> Result<()> {
    let groups = lines.iter().filter_map(|line| {
        let (name, ours) = *line.values.first()?;
        let bar = |name: &str, value: f64| Bar {
            value,
            colour: colour(name),
            text: format!("{name} {value:.2}"),
        };
        let others = [Role::Twin, Role::Memcpy, Role::Tree, Role::Tmpfs, Role::HugeTmpfs]
            .into_iter()
            .filter_map(|role| {
                let name = if role == Role::Twin { "a kernel for each" } else { role.name() };
                Some(bar(name, ours / line.ratio(role)?.median))
            });
        let bars = [bar("Faultless", ours)].into_iter().chain(others).collect();
        (name == "scaling").then(|| (titled(line), bars))
    });
    let bars = Bars {
        title: "What two threads do, of what one does: more is better",
        across: "times one thread; 2 is all there is",
        rule: 2.0,
        groups: groups.collect(),
    };
    bars.draw(path)
}

/// Each row against the best of those that do the same job.
fn rivals(path: &Path, lines: &[Line]) -> Result<()> {
    let group = |line: &Line| {
        let (unit, _) = *line.values.first()?;
        let rivals = [Role::Tree, Role::TreeWithBounce, Role::Tmpfs, Role::HugeTmpfs];
        let ratios = rivals.into_iter().filter_map(|role| Some((line.ratio(role)?.median, role)));
        let (ratio, best) = ratios.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        let bar = Bar {
            value: ratio,
            colour: colour(if ratio <= 1.0 { "Faultless" } else { "BTreeMap" }),
            text: format!("{ratio:.2} of {}", best.name()),
        };
        let title = || format!("{}: {}", line.number, titled(line));
        (unit == "nanoseconds").then(|| (title(), vec![bar]))
    };
    let bars = Bars {
        title: "Time, of the best rival's in each row: below 1 Faultless wins",
        across: "times the best of BTreeMap, BTreeMap with bounce buffer, and tmpfs in small and huge pages",
        rule: 1.0,
        groups: lines.iter().filter_map(group).collect(),
    };
    bars.draw(path)
}

/// A small chart for each trace.
fn hit_ratios(path: &Path, traces: &[Hits]) -> Result<()> {
    const ACROSS: usize = 3;
    let down = traces.len().div_ceil(ACROSS);
    let root = SVGBackend::new(path, (SIZE.0, 40 + 260 * down as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let titled = root
        .titled(
            "Hits by size of the cache, in per cent of the trace's pages: more is better",
            (FONT, 20).into_font().color(&INK),
        )
        .map_err(failed)?;
    for (area, trace) in titled.split_evenly((down, ACROSS)).iter().zip(traces) {
        let points = || trace.curves.iter().flat_map(|curve| &curve.points);
        let most = points().map(|(_, hits)| *hits).fold(10.0, f64::max) * 1.05;
        let widest = points().map(|(size, _)| *size).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(&trace.name, (FONT, 15).into_font().color(&INK))
            .margin(8)
            .margin_right(18)
            .x_label_area_size(24)
            .y_label_area_size(36)
            .build_cartesian_2d(0.0..widest, 0.0..most)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_labels(5)
            .y_labels(5)
            .label_style((FONT, 12).into_font().color(&INK))
            .x_label_formatter(&|value| format!("{value:.0} %"))
            .y_label_formatter(&|value| format!("{value:.0}"))
            .draw()
            .map_err(failed)?;
        for Curve { name, points } in &trace.curves {
            let width = if *name == "Faultless" { 3 } else { 2 };
            let series = LineSeries::new(points.iter().copied(), colour(name).stroke_width(width));
            chart.draw_series(series).map_err(failed)?;
        }
    }
    legend(&titled, down, traces)?;
    root.present().map_err(failed)
}

/// The names of the lines, once for all small charts: where the last one would be, or below.
fn legend(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    down: usize,
    traces: &[Hits],
) -> Result<()> {
    let Some(first) = traces.first() else { return Ok(()) };
    let (width, height) = area.dim_in_pixel();
    let (x, y) = (width as i32 * 2 / 3 + 50, height as i32 * (down as i32 - 1) / down as i32 + 50);
    for (at, curve) in first.curves.iter().enumerate() {
        let y = y + at as i32 * 24;
        let line = PathElement::new(vec![(x, y), (x + 30, y)], colour(curve.name).stroke_width(3));
        area.draw(&line).map_err(failed)?;
        let style = (FONT, 15).into_font().color(&INK);
        area.draw(&Text::new(curve.name, (x + 40, y - 8), style)).map_err(failed)?;
    }
    Ok(())
}
