"""Large jobs as Parquet parts that any number of processes and machines write, each row once.

The entry points:

    orders.Order(settings, bundle, n, ...): what a user asks for
    make.make_job(order, store) -> (Job, Engine): job.json of the folder, made or read
    work.work(job, store, rows, parts): one process
    workers.run_workers(...): several processes of one machine
    status.status(job, store), check.check(job, store, engine), merge.merge(job, store, out)

Row i of a job depends on the bundle, the settings and i only, so a part may be written twice: both
have the same rows. No process coordinates the others.
"""
