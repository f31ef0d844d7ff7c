package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics shows. What lies in the stores is read when
// somebody asks; only what happens in between is counted here.
type metrics struct {
	registry        *prometheus.Registry
	commitSeconds   prometheus.Histogram
	archiveSeconds  prometheus.Histogram
	archiveFailures prometheus.Counter
	refused         *prometheus.CounterVec // sessions that did not start, by reason
	placeFailures   *prometheus.CounterVec // checkpoints that a place outside did not take
	published       *prometheus.GaugeVec   // when it last took one
}

func newMetrics() *metrics {
	// Fsyncs take tens of microseconds to seconds.
	times := prometheus.ExponentialBuckets(50e-6, 2, 17)
	m := &metrics{
		registry:        prometheus.NewRegistry(),
		commitSeconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sallyport_journal_sync_seconds", Help: "How long the fsyncs of the journal take.", Buckets: times}),
		archiveSeconds:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sallyport_archive_create_seconds", Help: "How long it takes to store an object in the archive.", Buckets: times}),
		archiveFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "sallyport_archive_failures_total", Help: "Objects that the archive did not take; each is tried again."}),
		refused:         prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_sessions_refused_total", Help: "Sessions that did not start although policy allowed them."}, []string{"reason"}),
		placeFailures:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_checkpoint_failures_total", Help: "Checkpoints that a place outside did not take; the next one is tried again."}, []string{"place"}),
		published:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sallyport_checkpoint_published_timestamp_seconds", Help: "When a place outside last took a checkpoint, in Unix time."}, []string{"place"}),
	}
	for _, reason := range []string{refusedDisk, refusedRecorder, refusedCatalog} {
		m.refused.WithLabelValues(reason)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "sallyport_build_info", Help: "1, with the version that runs.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m.commitSeconds, m.archiveSeconds, m.archiveFailures, m.refused, m.placeFailures, m.published, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// The reasons of sallyport_sessions_refused_total.
const (
	refusedDisk     = "disk"
	refusedRecorder = "recorder"
	refusedCatalog  = "catalog"
)

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// watch adds what read reports to every answer.
func (m *metrics) watch(read sampler) { m.registry.MustRegister(read) }

// emitter takes one sample: a counter if its name ends in _total, otherwise a
// gauge. Labels are names and values in turn.
type emitter func(name, help string, value float64, labels ...string)

// sampler reads the state of something whenever it is asked.
type sampler func(emit emitter)

// Describe implements prometheus.Collector. What there is shows only in
// Collect.
func (sampler) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s sampler) Collect(ch chan<- prometheus.Metric) {
	s(func(name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		kind := prometheus.GaugeValue
		if len(name) > 6 && name[len(name)-6:] == "_total" {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
	})
}

// sample reports the disks.
func (d *diskWatch) sample(emit emitter) {
	for _, s := range d.look() {
		const free, size, limit = "sallyport_disk_free_bytes", "sallyport_disk_size_bytes", "sallyport_disk_limit_bytes"
		if s.err != nil {
			continue
		}
		emit(free, "Free bytes of the disk that the record is written to.", float64(s.free), "of", s.what)
		emit(size, "Size of that disk.", float64(s.total), "of", s.what)
		emit(limit, "Free bytes below which sessions are refused, or ended.", float64(s.refuse), "of", s.what, "then", "refuse")
		emit(limit, "Free bytes below which sessions are refused, or ended.", float64(s.end), "of", s.what, "then", "end")
	}
}
