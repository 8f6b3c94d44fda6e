//go:build race

package pooltest_test

// raceDetector makes everything several times as slow.
const raceDetector = true
