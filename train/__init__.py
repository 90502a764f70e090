"""Models, likelihoods, training, evaluation and checkpoints, in PyTorch.

The entry points:

    data.load_digits() | load_idx(folder) | load_npz(path) | load_text(path) | load_python()
        -> Dataset
    recipes.recipe(name) -> Recipe
    fit.fitted(recipe, spec) -> the recipe without the settings that need images, and notes
    resize.with_width(config, width), with_layers(config, layers) -> a larger or smaller model
    training.train(recipe, data, out, *, seed=0, resume=False, device="cpu", progress=...)
        -> TrainingResult(path, model, summary, history)
    progress.training_bar(name, steps): a context manager that gives `train` its progress function
    checkpoint.save_checkpoint(path, model, ...); load_checkpoint(path) -> (model, Checkpoint)
    open_checkpoint.open_checkpoint(path): the same, and folders of transformers and diffusers
    causality.check_causality(model) -> CausalityReport(leaks, positions, ...): .passed, .sentence
    evaluation.evaluate_model(model, part, log_prior) -> Estimates(marginal, conditional)
    evaluation.independent_values(data), neighbour_table(data): baselines, log_prob(x, label)
"""
