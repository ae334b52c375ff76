//! Lock graphs as pictures. Laid out by a Rust crate, so that no tool has to be installed.

#![forbid(unsafe_code)]

use anyhow::{Result, anyhow};
use faultless_controls::deadlocks::{Algorithm, Scenario};
use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};

/// `dl1-2.6.23.svg`.
pub(super) fn file_name(scenario: Scenario, algorithm: Algorithm) -> String {
    let scenario = scenario.name().to_lowercase().replace('\'', "-prime");
    format!("{scenario}-{}.svg", algorithm.name().to_lowercase().replace(' ', "-"))
}

/// Draws a graph that is given in the language of `dot`.
pub(super) fn draw(dot: &str) -> Result<String> {
    let graph = DotParser::new(dot).process().map_err(|error| anyhow!("lock graph: {error}"))?;
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut svg = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut svg);
    Ok(svg.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_and_a_loop_can_be_drawn() {
        for dot in [
            "digraph locks {\n  \"P(1,0)\" -> \"P(1,0)\" [style=dashed, label=\"T1\"];\n}\n",
            "digraph locks {\n  \"P(1,0)\" -> \"M(2)\" [style=dashed, label=\"T1 (r)\"];\n  \
             \"M(2)\" -> \"P(1,0)\" [style=solid, label=\"T2 (w)\"];\n}\n",
        ] {
            let svg = draw(dot).expect("a drawing");
            assert!(svg.contains("<svg") && svg.contains("P(1,0)"), "{svg}");
        }
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        assert!(draw("digraph locks { -> ").is_err());
    }

    #[test]
    fn file_names_have_no_spaces_and_no_quotes() {
        assert_eq!(
            file_name(Scenario::Dl3Prime, Algorithm::PrefaultOnly),
            "dl3-prime-prefault-only.svg"
        );
    }
}
