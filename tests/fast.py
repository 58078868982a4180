"""The tests of ``python -m pytest -m fast``: under half a minute on two cores, for the time between
two thoughts. They look into every folder of the package; the whole suite looks into every corner.

They are chosen by processor time: what takes more than some tenths of a second is left to the
suite. With ``-m fast`` no file is imported but those that are named here.
"""

FILES = {
    # the package as a whole
    "test_api.py",
    "test_distribution.py",
    "test_fast.py",
    "test_layers.py",
    # configuration and its errors
    "test_build_files.py",
    "test_conf.py",
    "test_inputs.py",
    "test_settings.py",
    # the documentation
    "test_docs_pages.py",
    "test_docs_reference.py",
    "test_readme.py",
    # types and units
    "test_task_units_frames.py",
    "test_transform.py",
    "test_types_arrays.py",
    "test_types_batch.py",
    "test_types_labels.py",
    "test_types_places.py",
    # readers, archive, windows, data sets
    "test_archive.py",
    "test_data_base.py",
    "test_moving_mnist.py",
    "test_radar.py",
    "test_reader_arrays.py",
    "test_reader_bom_rainfields.py",
    "test_reader_cf_units.py",
    "test_reader_decoding.py",
    "test_reader_fmi_pgm.py",
    "test_reader_geotiff.py",
    "test_reader_mch_gif.py",
    "test_reader_meteonet.py",
    "test_reader_names.py",
    "test_reader_npy.py",
    "test_reader_radolan.py",
    "test_readers.py",
    "test_readers_odim.py",
    "test_windows.py",
    # models, baselines, losses, checkpoints, forecasts
    "test_checkpoints.py",
    "test_convlstm.py",
    "test_convlstm_stack.py",
    "test_encoder_forecaster.py",
    "test_forecaster.py",
    "test_incoming.py",
    "test_losses.py",
    "test_motion.py",
    "test_products.py",
    # evaluation: scores, intervals, tables
    "test_evaluation.py",
    "test_intervals.py",
    "test_results.py",
    "test_statistics.py",
    "test_summary_scores.py",
    "test_verification_events.py",
    "test_verification_fields.py",
    "test_verification_neighbourhood.py",
    "test_verification_table.py",
    # files, pictures and pages that are written
    "test_geotiff.py",
    "test_odim.py",
    "test_origin.py",
}

LEFT_OUT = {  # of these files
    "test_api.py::test_a_model_is_evaluated_on_the_test_part_of_a_data_set_by_the_scores_of_its_quantity",
    "test_api.py::test_files_are_converted_once_and_again_only_what_is_new",
    "test_archive.py::test_other_files_and_other_versions_are_refused_by_name",
    "test_archive.py::test_the_cf_checker_finds_no_error_in_an_archive",
    "test_checkpoints.py::test_a_process_killed_while_it_saves_loses_nothing_it_said_was_saved",
    "test_conf.py::test_a_path_reaches_the_program_as_it_was_typed",
    "test_conf.py::test_a_path_survives_in_the_stored_configuration",
    "test_conf.py::test_parts_that_do_not_go_together_are_told_in_one_line",
    "test_conf.py::test_the_models_of_a_comparison_are_of_one_size",
    "test_conf.py::test_the_other_rows_of_table_1_are_overrides",
    "test_convlstm.py::test_gradients_agree_with_finite_differences",
    "test_evaluation.py::test_a_worker_process_that_dies_is_one_sentence",
    "test_evaluation.py::test_one_two_and_no_processes_give_identical_numbers_with_and_without_a_cache",
    "test_fast.py::test_pytest_m_fast_loads_no_other_file_and_takes_their_choice_of_tests",
    "test_losses.py::test_the_gradient_is_that_of_finite_differences",
    "test_moving_mnist.py::test_torchvision_reads_its_own_folder",
    "test_odim.py::test_pysteps_reads_identical_rates_and_depths_in_their_place",
    "test_radar.py::test_no_workers_and_two_workers_give_the_same_cases",
    "test_reader_geotiff.py::test_a_real_file_has_the_pixels_that_were_decoded_independently",
    "test_reader_geotiff.py::test_the_coarse_and_the_fine_real_composite_show_the_same_rain_at_the_same_place",
    "test_reader_radolan.py::test_cell_centres_are_those_of_wradlib",
    "test_readers_odim.py::test_bytes_changed_anywhere_give_frames_or_one_line",
    "test_readers_odim.py::test_every_real_file_is_recognised_and_read_with_what_it_declares",
    "test_settings.py::test_a_setting_that_nothing_would_read_is_refused_with_the_reason",
    "test_settings.py::test_a_word_of_hydra_that_has_no_meaning_here_is_refused_with_what_to_type_instead",
    "test_settings.py::test_another_value_builds_another_object",
    "test_settings.py::test_another_value_lets_a_command_do_another_thing",
    "test_settings.py::test_every_setting_that_a_command_reads_itself_has_an_entry_in_the_table",
    "test_settings.py::test_settings_of_training_data_are_refused_where_only_the_test_part_is_read",
    "test_settings.py::test_the_run_folder_of_hydra_is_the_run_folder",
    "test_statistics.py::test_a_score_of_ones_own_is_evaluated_with_intervals_and_paired_differences",
    "test_types_places.py::test_a_grid_of_any_object_reaches_every_file_and_process_as_text",
    "test_types_places.py::test_every_spelling_of_a_projection_is_the_same_grid_and_half_a_pixel_is_another",
}

SINGLE = {  # of other files
    "test_baselines.py::test_advection_carries_rain_along_its_motion_without_pysteps",
    "test_baselines.py::test_persistence_repeats_the_last_frame",
    "test_benchmark_layer.py::test_a_case_that_cannot_be_understood_is_refused",
    "test_benchmark_layer.py::test_steps_take_turns",
    "test_benchmark_training.py::test_a_step_learns_with_the_optimiser_of_the_training_and_leaves_no_gradients",
    "test_cli.py::test_the_shipped_model_forecasts_from_any_archive_without_a_run",
    "test_conversion.py::test_clipping_and_regridding_act_and_stand_in_the_archive",
    "test_demo.py::test_the_hour_is_twelve_frames_that_are_whole_and_less_than_a_megabyte",
    "test_demo.py::test_the_next_commands_that_it_prints_are_commands_with_settings_that_exist",
    "test_drawing.py::test_a_picture_shows_missing_pixels_grey_dry_ones_white_and_rain_in_its_class",
    "test_drawing.py::test_a_rain_rate_on_a_class_edge_has_the_colour_of_the_class_above",
    "test_page.py::test_a_forecast_is_written_field_by_field_with_its_times",
    "test_page.py::test_files_of_the_folder_are_given_out_with_their_type_and_safe_headers",
    "test_page.py::test_missing_dry_and_the_first_and_last_steps_of_an_amount",
    "test_report.py::test_a_text_is_escaped_and_what_is_not_seen_is_written_out",
    "test_report.py::test_an_axis_has_round_numbers_and_places_values_between_its_ends",
    "test_report.py::test_the_report_says_what_the_differences_say_and_what_may_be_concluded",
    "test_watch.py::test_every_frame_makes_a_forecast_as_soon_as_it_has_settled",
}


def files() -> set[str]:
    """The files that have fast tests."""
    return FILES | {name.partition("::")[0] for name in SINGLE}


def is_fast(file: str, test: str) -> bool:
    """Whether a test function, whatever its parameters, is one of the fast ones."""
    name = f"{file}::{test}"
    return name in SINGLE or (file in FILES and name not in LEFT_OUT)
