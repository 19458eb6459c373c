//! The zoo: the published parameter counts, other grids, what is refused.

use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::config::{Activation, Block, Channels, Model, ModelName, Quirks};
use sci_hpc::model::graph::{self, Node, Op, Program};
use sci_hpc::model::{Cost, Graph, ModelError, Shape, forward, zoo};
use sci_hpc::tape::Tape;

use Activation::{Gdn, Prelu, Relu};
use Block::{Next, Vanilla};

const PUBLISHED: [usize; 3] = [91, 85, 32];

fn build(model: &Model, grid: [usize; 3], channels: usize) -> Graph {
    let graph = zoo::build(model, Shape { grid, channels }).unwrap();
    graph.check().unwrap();
    graph
}

fn model(name: ModelName, activation: Activation, block: Block, cbam: bool) -> Model {
    Model { name, activation: Some(activation), block: Some(block), cbam: Some(cbam), ..Default::default() }
}

/// Vanilla, NeXt, vanilla with CBAM, NeXt with CBAM.
const STYLES: [(Block, bool); 4] = [(Vanilla, false), (Next, false), (Vanilla, true), (Next, true)];

#[track_caller]
fn assert_params(model: &Model, latent: usize, params: usize) {
    let graph = build(model, PUBLISHED, 1);
    assert_eq!(Cost::of(&graph).params, params, "{model:?}");
    assert_eq!(graph.latent().len(), latent, "{model:?}");
}

#[test]
fn backbone_has_the_published_parameters() {
    for (activation, params) in [(Prelu, 296_553), (Relu, 296_199), (Gdn, 311_403)] {
        let model = Model { activation: Some(activation), ..Default::default() };
        assert_params(&model, 288, params);
    }
}

#[test]
fn tucodec_has_the_published_parameters() {
    let tucodec = |activation, block, cbam| model(ModelName::Tucodec, activation, block, cbam);
    for (activation, next, vanilla) in
        [(Prelu, 2_527_361, 10_596_737), (Relu, 2_522_689, 10_590_849), (Gdn, 2_768_001, 10_973_569)]
    {
        assert_params(&tucodec(activation, Next, false), 576, next);
        assert_params(&tucodec(activation, Vanilla, false), 576, vanilla);
    }
    assert_params(&tucodec(Prelu, Vanilla, true), 576, 10_704_353);
    assert_params(&tucodec(Prelu, Next, true), 576, 2_634_977);
    for (block, params) in [(Next, 635_841), (Vanilla, 2_654_401)] {
        let narrow = Model { channels: Some(Channels::All(32)), ..tucodec(Prelu, block, false) };
        assert_params(&narrow, 288, params);
    }
}

#[test]
fn resnext_and_rdb_have_the_published_parameters() {
    let of = |name, activation, (block, cbam), (layers, cardinality)| Model {
        layers: Some(layers),
        cardinality: Some(cardinality),
        ..model(name, activation, block, cbam)
    };
    let (resnext, rdb) = (ModelName::Resnext, ModelName::Rdb);
    assert_params(&of(rdb, Gdn, (Vanilla, true), (27, 4)), 288, 25_572_973);
    assert_params(&of(resnext, Gdn, (Vanilla, true), (27, 1)), 288, 3_491_437);
    let rows = [
        (resnext, (27, 4), [12_285_611, 469_547, 12_555_179, 1_081_259]),
        (rdb, (27, 4), [24_434_603, 25_374_635, 24_616_043, 25_556_075]),
        (resnext, (27, 1), [3_296_555, 342_539, 3_363_947, 495_467]),
        (rdb, (27, 1), [6_332_075, 6_567_083, 6_377_435, 6_612_443]),
        (resnext, (3, 8), [2_960_555, 334_763, 3_020_459, 470_699]),
        (rdb, (3, 8), [5_660_587, 5_869_483, 5_700_907, 5_909_803]),
    ];
    for (name, size, counts) in rows {
        for (style, params) in STYLES.into_iter().zip(counts) {
            assert_params(&of(name, Prelu, style, size), 288, params);
        }
    }
}

#[test]
fn rab_has_the_published_parameters() {
    let rab = |layers, cbam| Model { layers: Some(layers), ..model(ModelName::Rab, Prelu, Next, cbam) };
    assert_params(&rab(4, true), 288, 1_305_387);
    for (layers, params) in [(1, 526_443), (2, 756_139), (4, 1_215_531), (8, 2_134_315)] {
        assert_params(&rab(layers, false), 288, params);
    }
}

#[test]
fn grdn_has_the_published_parameters() {
    let grdn = |activation, (block, cbam)| model(ModelName::Grdn, activation, block, cbam);
    assert_params(&grdn(Gdn, (Next, true)), 288, 4_664_774);
    for (style, params) in STYLES.into_iter().zip([7_016_347, 4_288_411, 7_106_971, 4_379_035]) {
        assert_params(&grdn(Prelu, style), 288, params);
    }
    // As the paper means it: in the decoder too.
    for (activation, params) in [(Gdn, 9_018_141), (Prelu, 8_461_515)] {
        let clean = Model { quirks: Some(Quirks::Clean), ..grdn(activation, (Next, true)) };
        assert_params(&clean, 288, params);
    }
}

#[test]
fn defaults_are_the_models_of_table_6() {
    let of = |name| Cost::of(&build(&Model { name, ..Default::default() }, PUBLISHED, 1)).params;
    let names = [ModelName::Backbone, ModelName::Rdb, ModelName::Resnext, ModelName::Rab, ModelName::Grdn];
    assert_eq!(names.map(of), [296_553, 25_572_973, 3_491_437, 1_305_387, 4_664_774]);
    assert_eq!(of(ModelName::Tucodec), 2_527_361);
}

#[test]
fn attention_and_quirks_change_the_graph_as_they_say() {
    let base = model(ModelName::Tucodec, Gdn, Next, true);
    let nodes = |model: &Model| {
        let graph = build(model, [32, 20, 16], 1);
        (graph.encoder.nodes.len(), graph.decoder.nodes.len(), serde_json::to_string(&graph).unwrap())
    };
    let published = nodes(&base);
    let without = nodes(&Model { attention: Some(false), ..base.clone() });
    assert!(without.0 < published.0 && without.1 < published.1);
    let sigmoid = nodes(&Model { sigmoid: Some(true), ..base.clone() });
    assert_eq!((sigmoid.0, sigmoid.1), (published.0 + 2, published.1 + 2), "two masks in each half");
    let clean = nodes(&Model { quirks: Some(Quirks::Clean), ..base });
    let inverted = |text: &str| text.matches("\"inverse\":true").count();
    assert_eq!(inverted(&clean.2), inverted(&published.2) + 3, "the three GDN between the layers of the decoder");
}

#[test]
fn every_model_serves_other_grids_and_its_graph_checks() {
    for name in [ModelName::Resnext, ModelName::Rdb, ModelName::Rab, ModelName::Grdn, ModelName::Tucodec] {
        let layers = matches!(name, ModelName::Resnext | ModelName::Rdb | ModelName::Rab).then_some(3);
        let model = Model { name, layers, ..Default::default() };
        for grid in [[32, 32, 32], [40, 28, 16], [1, 28, 28], [5, 3, 2], [1, 1, 1], [64, 48, 1]] {
            for channels in [1, 3] {
                let graph = build(&model, grid, channels);
                assert!(graph.latent().points() <= graph.sample().points(), "{name:?} on {grid:?}");
            }
        }
    }
}

#[test]
fn grid_that_no_layer_serves_is_refused_naming_the_nearest() {
    let tucodec = Model { name: ModelName::Tucodec, ..Default::default() };
    let refused = zoo::build(&tucodec, Shape { grid: [91, 45, 32], channels: 1 }).unwrap_err();
    assert!(matches!(refused, ModelError::Strides { axis: "y", extent: 45, nearest: 44, .. }), "{refused}");
    assert!(refused.to_string().contains("the nearest extent they can serve is 44"), "{refused}");
}

#[test]
fn values_with_several_readers_are_dropped_after_the_last() {
    let shape = Shape { grid: [16; 3], channels: 4 };
    let node = |op, inputs: &[usize]| Node { op, inputs: inputs.to_vec(), shape };
    let mut nodes = vec![node(Op::Activation(graph::Activation::Relu), &[0])];
    nodes.extend((1..20).map(|i| node(Op::Add, &[i, i - 1])));
    let program = Program { input: shape, nodes };
    let backend = Cpu::<f32>::new();
    let tape = Tape::inference(backend.clone());
    let x = tape.constant(backend.upload(&vec![1.0; shape.len()]), forward::batch_shape(1, shape));
    let y = forward::run(&tape, &program, &[], &x);
    // 1, 1, 2, 3, 5, ...: the values are Fibonacci's numbers.
    assert_eq!(tape.download(&y)[0], 10946.0);
    let (value, peak) = (4 * shape.len(), backend.memory_peak_bytes());
    assert!(peak <= 4 * value, "x, two that are read and one that is made, not {} values", peak / value);
}

#[test]
fn damaged_graph_with_branches_is_refused() {
    let good =
        build(&Model { channels: Some(Channels::All(4)), ..model(ModelName::Tucodec, Gdn, Next, true) }, [16; 3], 1);
    let damage = |op: &dyn Fn(&Op) -> bool, what: &dyn Fn(&mut Graph, usize)| {
        let mut bad = good.clone();
        let at = bad.encoder.nodes.iter().position(|node| op(&node.op)).unwrap();
        what(&mut bad, at);
        assert!(matches!(bad.check(), Err(ModelError::BadGraph { .. })));
    };
    damage(&|op| *op == Op::Add, &|graph, at| graph.encoder.nodes[at].inputs.clear());
    damage(&|op| *op == Op::Multiply, &|graph, at| graph.encoder.nodes[at].inputs.truncate(1));
    damage(&|op| *op == Op::Concat, &|graph, at| graph.encoder.nodes[at].inputs.truncate(1));
    damage(&|op| *op == Op::GridMax, &|graph, at| graph.encoder.nodes[at].shape.channels += 1);
    damage(&|op| matches!(op, Op::Gdn(_)), &|graph, at| {
        if let Op::Gdn(gdn) = &mut graph.encoder.nodes[at].op {
            gdn.gamma = gdn.beta;
        }
    });
    damage(&|op| matches!(op, Op::BatchNorm(_)), &|graph, at| {
        if let Op::BatchNorm(norm) = &mut graph.encoder.nodes[at].op {
            norm.running = usize::MAX;
        }
    });
}
