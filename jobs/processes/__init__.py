"""One evaluation as several processes: one for each GPU, on every host of the job."""
