"""Names that other programs give to settings of a training, and the names here; rows as in `synonyms`."""

TRAINING = {
    # length, device, precision
    "epochs num_epochs n_epochs nb_epochs nepochs max_epoch epoch num_train_epochs": "trainer.max_epochs=<number>",
    "max_steps num_steps n_steps steps total_steps iterations max_iter max_iters iters train_steps": (
        "trainer.max_steps=<number>"
    ),
    "steps_per_epoch": "trainer.limit_train_batches=<number>",
    "min_epochs": "trainer.min_epochs=<number>",
    "min_steps": "trainer.min_steps=<number>",
    "max_time max_duration time_limit": "trainer.max_time=<days:hours:minutes:seconds>",
    "gpus gpu num_gpus n_gpu n_gpus ngpu ngpus use_gpu cuda use_cuda": (
        "write trainer.accelerator=gpu trainer.devices=<number>"
    ),
    "device no_cuda cpu use_cpu use_mps mps": "write trainer.accelerator=<auto, cpu, gpu or mps>",
    "tpu_cores tpus tpu": "there is no support for TPUs; write trainer.accelerator=<auto, cpu, gpu or mps>",
    "num_processes nproc nproc_per_node world_size ddp distributed dist num_devices": (
        "write trainer=ddp trainer.devices=<number>"
    ),
    "num_nodes nodes nnodes": "one training uses one machine; several trainings are spread by -m hydra/launcher=slurm",
    "fp16 fp32 bf16 amp use_amp half mixed_precision amp_backend amp_level amp_dtype": (
        "write trainer.precision=<auto, 32-true, bf16-mixed, 16-mixed or 64-true>"
    ),
    "torch_compile compile_model torchcompile": "write trainer.compile=<true, reduce-overhead or max-autotune>",
    "benchmark cudnn_benchmark cudnn": "trainer.benchmark=<true or false>",
    "threads n_threads nthreads torch_threads": "trainer.num_threads=<number>",
    # optimization
    "lr learning_rate lr0 base_lr init_lr initial_lr max_lr learningrate lrate alpha_lr": "optimizer.lr=<number>",
    "wd weightdecay l2 l2_reg decay": "optimizer.weight_decay=<number>",
    "momentum nesterov": "write optimizer=sgd optimizer.momentum=<number> optimizer.nesterov=<true or false>",
    "beta1 beta2 adam_beta1 adam_beta2 opt_betas": "write optimizer.betas=[<number>,<number>]",
    "opt_eps epsilon adam_epsilon": "optimizer.eps=<number>",
    "opt optim optimiser optimizer_name solver": (
        "write optimizer=<adam, adamw, lion, muon, nadam, radam, rmsprop, schedule_free_adamw, schedule_free_sgd, sdlm "
        "or sgd>"
    ),
    "sched schedule lr_scheduler lr_schedule scheduler_name lr_scheduler_type": (
        "write scheduler=<cosine, cosine_restarts, exponential, linear, multistep, none, onecycle, "
        "piecewise_constant, plateau, polynomial or step>"
    ),
    "warmup warmup_steps warmup_ratio num_warmup_steps lr_warmup_epochs": "scheduler.warmup_epochs=<number>",
    "warmup_lr warmup_start_lr lr_warmup_decay warmup_start_factor": "scheduler.warmup_factor=<fraction>",
    "t_max min_lr lr_min final_lr": "write scheduler=cosine scheduler.eta_min=<number>",
    "decay_epochs lr_step_size": "write scheduler=step scheduler.step_size=<epochs>",
    "decay_milestones lr_steps": "write scheduler=multistep scheduler.milestones=[<epoch>,<epoch>]",
    "t_0 t_mult cycle_limit": "write scheduler=cosine_restarts scheduler.period=<epochs>",
    "poly poly_power lr_power": "write scheduler=polynomial scheduler.power=<number>",
    "lr_gamma decay_rate lr_decay": "write scheduler=step scheduler.gamma=<number>",
    "gradient_clip_norm gradient_clip clip_grad clip_grad_norm max_grad_norm grad_clip clipnorm clip clip_norm": (
        "trainer.gradient_clip_val=<number>"
    ),
    "gradient_clip_algorithm clip_mode": "trainer.gradient_clip_algorithm=<norm or value>",
    "clipvalue clip_value": "write trainer.gradient_clip_val=<number> trainer.gradient_clip_algorithm=value",
    "accumulate_grad_batches gradient_accumulation_steps grad_accum grad_accum_steps accum_iter accumulation_steps": (
        "trainer.accumulate_grad_batches=<number>"
    ),
    "ema model_ema use_ema model_ema_decay ema_decay": "write callbacks.ema.decay=<number>, such as 0.999",
    "swa use_swa swa_start swa_epoch_start stochastic_weight_avg": "write callbacks.swa.start=<fraction or epochs>",
    "swa_lr swa_lrs": "write callbacks.swa.start=<fraction or epochs> callbacks.swa.lr=<number>",
    "label_smooth smoothing": "loss.label_smoothing=<number>",
    "class_weight weight weights_per_class pos_weight": "write loss.class_weights=<balanced or a list>",
    "criterion loss_fn loss_function loss_name": "write loss=<cross_entropy, mle or map>",
    # data
    "batch_size bs batch batchsize train_batch_size per_device_train_batch_size mini_batch_size": (
        "loader.batch_size=<number>"
    ),
    "val_batch_size valid_batch_size test_batch_size validation_batch_size per_device_eval_batch_size": (
        "loader.eval_batch_size=<number>"
    ),
    "num_workers workers n_workers nworkers persistent_workers prefetch_factor prefetch pin_memory pin_mem": (
        "there are no worker processes, as whole batches are made at once; leave it out"
    ),
    "val_split validation_split val_fraction valid_size validation_size val_ratio val_pct": (
        "data.split.val_size=<images or a fraction>"
    ),
    "test_size test_split": "the test split comes with the dataset; for a folder use data.test_fraction=<fraction>",
    "dataset datasets dataset_name data_set ds": "write data=<choice>",
    "data_dir datadir data_folder dataset_dir dataset_path root_dir dataroot": (
        "write data_root=<folder> for published sets, or data=folder data.path=<folder> for images of your own"
    ),
    "img_size input_size imgsz image_dim resize": "model.image_size=<px>",
    "num_classes n_classes nb_classes num_class in_channels in_chans input_channels input_shape": (
        "the dataset tells it; leave it out"
    ),
    "aug augs augmentation augmentations data_augmentation auto_augment aa transform": (
        "write augment=<affine, cifar, cutmix, cutout, elastic, lecun, mixup, none, rand_augment or trivial_augment>"
    ),
    "randaugment rand_aug ra_num_ops": "augment.rand_augment=<number of operations>",
    "ra_magnitude": "augment.rand_augment_magnitude=<0 to 30>",
    "trivialaugment trivial_aug trivial_augment_wide ta_wide": "augment.trivial_augment=<true or false>",
    "elastic elastic_transform elastic_distortion": "write augment=elastic, or augment.elastic_alpha=<px>",
    "blur gaussian_sigma": "augment.gaussian_blur=<px>",
    "gaussian_noise noise_std": "augment.noise=<standard deviation>",
    "flip horizontal_flip random_flip": "augment.hflip=<probability>",
    "rotation rotate random_rotation": "augment.degrees=<degrees>",
    "translation shift random_shift": "augment.translate=<fraction>",
    "reprob erasing random_erase": "augment.random_erasing=<probability>",
    "cutout_size cutout_length": "augment.cutout=<px>",
    "color_jitter colour_jitter jitter": (
        "write augment.brightness=<fraction> augment.contrast=<fraction> augment.saturation=<fraction>"
    ),
    "mixup_alpha": "augment.mixup=<alpha>",
    "cutmix_alpha": "augment.cutmix=<alpha>",
    "mean std normalize normalise": (
        "taken from the training images; input_range=[<black>,<white>], or a pair for each channel, sets levels instead"
    ),
    # model
    "arch architecture_name net network backbone model_name model_type": "write model=<choice>",
    "drop drop_rate dropout_rate dropout_prob p_dropout keep_prob": "model.dropout=<number>",
    "hidden hidden_size hidden_dim hidden_units": "model.hidden_sizes=[<width>,<width>]",
    "act act_layer nonlinearity activation_fn": "model.activation=<choice>",
    "batchnorm batch_norm use_bn bn norm_layer": (
        "write model.norm=<none, batch_norm, layer_norm, group_norm or instance_norm>"
    ),
    "num_filters filters width": "model.channels=[[<width>],[<width>]]",
    # callbacks
    "early_stopping early_stop earlystopping no_early_stopping use_early_stopping enable_early_stopping es": (
        "callbacks.early_stopping=null switches it off, callbacks.early_stopping.patience=<epochs> sets it"
    ),
    "patience early_stopping_patience es_patience": (
        "write callbacks.early_stopping.patience=<epochs>; of the learning rate it is scheduler.patience=<epochs>"
    ),
    "monitor metric metric_to_monitor eval_metric metric_for_best_model": (
        "write callbacks.checkpoint.monitor=<metric> or callbacks.early_stopping.monitor=<metric>"
    ),
    "mode": "the metric tells whether less or more is better; leave it out",
    "checkpoint_path ckpt_path ckpt checkpoint resume_from_checkpoint resume_from resume_path load_from load": (
        "write run=<its folder> resume=true to continue a run"
    ),
    "pretrained pretrained_weights weights init_checkpoint initial_checkpoint finetune fine_tune finetune_from": (
        "init_from=<run folder, checkpoint or safetensors file>"
    ),
    "freeze_layers frozen freeze_backbone freeze_features freeze_encoder trainable": "write freeze=[features]",
    "unfreeze unfreeze_at_epoch unfreeze_backbone_at_epoch unfreeze_epoch freeze_epochs": "unfreeze_after=<epochs>",
    "layer_wise_lr layerwise_lr layer_lr_decay lr_scale lr_mult discriminative_lr backbone_lr": (
        "write layer_decay=<factor> or layer_decay={features:<factor>}"
    ),
    "teachers teacher_model teacher_run teacher_path teacher_ckpt distill distill_from kd knowledge_distillation": (
        "teacher=<run folder or checkpoint, or a list of them>"
    ),
    "kd_temperature distillation_temperature distill_temperature": "distillation.temperature=<number>",
    "kd_weight kd_alpha distillation_weight distillation_alpha distill_weight": "distillation.weight=<0 to 1>",
    "reset_classifier new_head replace_head ignore_mismatched_sizes": "reset_head=<true or false>",
    "enable_checkpointing checkpoint_callback save_top_k save_last save_every save_freq checkpoint_dir save_model": (
        "the best and the last epoch are always kept; callbacks.checkpoint.monitor=<metric> says what is best"
    ),
    "enable_progress_bar progress_bar_refresh_rate progress refresh_rate no_progress": "callbacks.progress_bar=false",
    "verbose verbosity quiet silent": "write callbacks.progress_bar=false callbacks.model_summary=false",
    "enable_model_summary weights_summary": "callbacks.model_summary=false",
    "callback": "write callbacks=<default or no_early_stopping>, or extra_callbacks=[<choice>] for further ones",
    "val_check_interval": "trainer.val_check_interval=<batches, or a fraction of the epoch>",
    "check_val_every_n_epoch val_every eval_every eval_interval eval_freq evaluation_strategy": (
        "trainer.check_val_every_n_epoch=<number>"
    ),
    "num_sanity_val_steps": "no validation is run before the training; leave it out",
    "log_interval log_freq log_every print_freq logging_steps log_steps": "trainer.log_every_n_steps=<number>",
    "loggers log use_tensorboard tb": "write logger=<tensorboard, csv, mlflow, wandb, or a list of them>",
    "wandb use_wandb wandb_project wandb_entity wandb_mode": (
        "write logger=wandb logger.wandb.project=<name> logger.wandb.mode=<offline or online>"
    ),
    "mlflow use_mlflow tracking_uri mlflow_tracking_uri mlflow_uri": (
        "write logger=mlflow logger.mlflow.tracking_uri=<URI>"
    ),
    "comet neptune trackio aim clearml": "write logger=<mlflow or wandb>",
    "tag": "tags=[<word>,<name>:<value>]",
    "note description comment": "notes=<text>",
    "default_root_dir output_dir outdir out_dir out output log_dir logdir save_dir work_dir run_dir": "run=<folder>",
    "exp exp_name experiment_name run_name name project run_id version": "run=<folder>",
    # running
    "seed_everything random_seed random_state manual_seed torch_seed rng_seed": "seed=<number>",
    "kfold k_folds n_folds num_folds n_splits kfolds cv cross_validation": "folds=<number>",
    "groups group_kfold fold_groups group_by_key": "folds_group=<separator in file names, or groups.npy>",
    "num_seeds n_seeds repeats num_runs n_runs": "write seeds=[0,1,2] or -m seed=0,1,2",
    "k_folds num_folds n_folds n_splits kfold cv cross_validation": "folds=<number>",
    "fast_dev_run dev_run dry_run smoke smoke_test sanity_check": (
        "trainer.fast_dev_run=true tries one batch of each split; debug=fast_dev_run also writes its run"
    ),
    "overfit_batches overfit overfit_pct": (
        "trainer.overfit_batches=<number>; debug=overfit trains on one batch again and again"
    ),
    "limit_batches subset train_subset max_samples max_train_samples": "trainer.limit_train_batches=<number>",
    "profile use_profiler": "write trainer.profiler=<simple or advanced>",
    "detect_anomaly": "trainer.detect_anomaly=true",
    "terminate_on_nan": "a loss or gradient that is not finite always ends the training; leave it out",
    "test_only eval_only eval do_eval evaluate": "a finished run is tested by python -m lenet_pl.evaluate run=<folder>",
    "do_train": "train=<true or false>",
    "do_test run_test": "test=<true or false>",
    "tta": "a finished run is tested by python -m lenet_pl.evaluate run=<folder> tta.shift=1",
    "auto_lr_find lr_find auto_scale_batch_size tune": "python -m lenet_pl.search search=learning searches it",
    "sync_batchnorm": "batch statistics are those of each process; leave it out",
    "use_distributed_sampler replace_sampler_ddp": "each process takes its own share of the images; leave it out",
}
