"""PyTorch: models, their likelihoods, how they learn, how good they are, checkpoints.

The entry points:

    data.load_digits() | load_idx(folder) | load_npz(path) | load_text(path) -> Dataset
    recipes.recipe(name) -> Recipe; fit.fitted(recipe, spec): what asks for images left out
    resize.with_width(config, width), with_layers(config, layers): of any family that has them
    training.train(recipe, data, out, *, seed=0, resume=False, device="cpu", progress=None)
        -> TrainingResult(path, model, summary, history)
    progress.training_bar(name, steps): a context manager; pass what it gives to `train` as progress
    checkpoint.save_checkpoint(path, model, ...); load_checkpoint(path) -> (model, Checkpoint)
    causality.check_causality(model) -> CausalityReport(leaks, positions, ...): .passed, .sentence
    evaluation.evaluate_model(model, part, log_prior) -> Estimates(marginal, conditional)
    tables.independent_values(data), neighbour_table(data): baselines, log_prob(x, label)
"""
