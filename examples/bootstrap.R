#!/usr/bin/env Rscript
# Bootstrap the slope of a line through measurements. Usage: bootstrap.R DATA SEED REPLICATES
#
# Writes slopes.SEED.csv. When all jobs are done, one line of R takes them together:
#   quantile(unlist(lapply(Sys.glob("slopes.*.csv"), scan, quiet = TRUE)), c(0.025, 0.5, 0.975))

args <- commandArgs(trailingOnly = TRUE)
if (length(args) != 3) stop("usage: bootstrap.R DATA SEED REPLICATES")
data <- read.csv(args[1])
set.seed(as.integer(args[2]))
slopes <- replicate(as.integer(args[3]), {
  i <- sample(nrow(data), replace = TRUE)
  coef(lm(y ~ x, data[i, ]))[["x"]]
})
write(slopes, paste0("slopes.", args[2], ".csv"), ncolumns = 1)
cat("seed", args[2], "median slope", format(median(slopes), digits = 5), "\n")
