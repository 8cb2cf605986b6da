//! The drawing: for each work and tool our wall time and CPU as a bar beside the tool's, which is 1.

use std::fmt::Write as _;

use crate::bench::{Done, Run};

const ROW: usize = 22;
const LEFT: usize = 330;
const UNIT: f64 = 300.0;

/// An SVG without script, font or link.
pub(crate) fn draw(done: &[Done]) -> String {
    let rows = done.iter().map(|done| 1 + 2 * done.pairs.len()).sum::<usize>();
    let height = ROW * rows + 50;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"800\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-weight=\"bold\">fileupload ÷ tool, median of the pairs (shorter is better; the line is the tool)</text>"
    );
    let mut y = 30;
    for Done { work, pairs } in done {
        y += ROW;
        let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{}</text>", work.name);
        for pairs in pairs {
            for (what, figure, colour) in
                [("wall", wall as fn(&Run) -> f64, "#2f6f9f"), ("CPU", cpu as fn(&Run) -> f64, "#7fb2d6")]
            {
                let Some(ratio) = pairs.ratio(figure) else { continue };
                y += ROW;
                let (width, top) = ((ratio.median * UNIT).min(450.0), y - 13);
                let _ = writeln!(
                    svg,
                    "<text x=\"30\" y=\"{y}\">{} {what}</text>\
                     <rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.0}\" height=\"15\" fill=\"{colour}\"/>\
                     <text x=\"{:.0}\" y=\"{y}\">{:.2}</text>",
                    pairs.tool.name(),
                    330.0 + width + 6.0,
                    ratio.median
                );
            }
        }
    }
    let _ = writeln!(svg, "<path d=\"M630 32V{}\" stroke=\"#c33\" stroke-dasharray=\"4 3\"/>\n</svg>", height - 8);
    svg
}

fn wall(run: &Run) -> f64 {
    run.wall
}

fn cpu(run: &Run) -> f64 {
    run.cpu
}
