package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"sallyport/recorder/catalog"
	"sallyport/recorder/ledger"
)

// placeTime bounds how long the start waits for a place outside to say what it
// remembers.
const placeTime = 5 * time.Second

// openLedger opens the node's ledger, after asking everything that remembers
// its checkpoints.
func (n *node) openLedger(ctx context.Context) error {
	var err error
	if n.places, err = n.cfg.places(n.keys); err != nil {
		return err
	}
	n.places = append(n.places, &catalogPlace{n.catalog})
	remembered, err := n.remembered(ctx)
	if err != nil {
		return err
	}
	n.ledger, err = ledger.Open(ledger.Options{Dir: dataDir(n.cfg.Data).ledger(), Signer: n.keys.signer, Verifier: n.keys.verifier,
		BodyKey: n.keys.body, Remembered: remembered, Accept: n.o.acceptRollback})
	if errors.Is(err, ledger.ErrRolledBack) {
		return fmt.Errorf("%w; keep what is there as evidence, and restore the ledger. To start with it as it is, use --accept-rollback, which becomes an entry", err)
	}
	return err
}

// places are those that the configuration sends checkpoints to.
func (c *Config) places(keys *recordKeys) ([]ledger.Place, error) {
	var places []ledger.Place
	for i, y := range c.Ledger.Checkpoints {
		p, err := y.place(keys.verifier)
		if err != nil {
			return nil, c.dec.at(fmt.Sprintf("ledger.checkpoints[%d]", i), "%v", err)
		}
		places = append(places, p)
	}
	return places, nil
}

// remembered asks all places for the newest checkpoint that they know. One that
// does not answer is logged: the others count. One that holds something else is
// an error, since nobody could tell what it should have held.
func (n *node) remembered(ctx context.Context) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, placeTime)
	defer cancel()
	found := make([][]byte, len(n.places))
	failed := make([]error, len(n.places))
	var wg sync.WaitGroup
	for i, p := range n.places {
		wg.Go(func() { found[i], failed[i] = p.Last(ctx) })
	}
	wg.Wait()
	var all [][]byte
	for i, p := range n.places {
		if failed[i] != nil {
			n.log.Warn("a place outside cannot say what it remembers of the ledger", "place", p.Name(), "error", failed[i])
			continue
		}
		if len(found[i]) == 0 {
			continue
		}
		if _, err := ledger.OpenCheckpoint(found[i], n.keys.verifier); err != nil {
			return nil, fmt.Errorf("%s holds no checkpoint of this ledger: %w; point ledger.checkpoints at the right place, or restore keys/ledger.key", p.Name(), err)
		}
		all = append(all, found[i])
	}
	return all, nil
}

// publish sends each new checkpoint to all places until stop is called, which
// sends the last one too and waits for that.
func (n *node) publish() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	failing := map[string]bool{}
	var mu sync.Mutex // guards failing
	p := &ledger.Publisher{Ledger: n.ledger, Places: n.places, Report: func(p ledger.Place, err error) {
		mu.Lock()
		defer mu.Unlock()
		was := failing[p.Name()]
		failing[p.Name()] = err != nil
		switch {
		case err != nil:
			n.metrics.placeFailures.WithLabelValues(p.Name()).Inc()
			if !was {
				n.log.Error("a checkpoint of the ledger was not taken; it is tried again", "place", p.Name(), "error", err)
			}
		default:
			n.metrics.published.WithLabelValues(p.Name()).SetToCurrentTime()
			if was {
				n.log.Info("checkpoints of the ledger are taken again", "place", p.Name())
			}
		}
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// catalogPlace remembers the newest checkpoint in the catalog's state: a backup
// of the ledger that is older than the catalog does not go unnoticed.
type catalogPlace struct{ catalog *catalog.Catalog }

// catalogCheckpoint is the name that it is remembered under.
const catalogCheckpoint = "ledger.checkpoint"

func (p *catalogPlace) Name() string { return "the catalog" }

func (p *catalogPlace) Send(ctx context.Context, checkpoint []byte) error {
	return p.catalog.Remember(ctx, catalogCheckpoint, string(checkpoint))
}

func (p *catalogPlace) Last(ctx context.Context) ([]byte, error) {
	text, err := p.catalog.Remembered(ctx, catalogCheckpoint)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, nil
	}
	return []byte(text), err
}

// ledgerPrefix is where the archive keeps copies of a node's ledger.
func ledgerPrefix(node string) string { return "ledger/" + node + "/" }

// copyLedger brings what is new in the ledger into the archive, so that the
// past of a lost node stays verifiable.
func (n *node) copyLedger(ctx context.Context) error {
	prefix := ledgerPrefix(n.cfg.Ledger.Node)
	if n.copied == 0 {
		for e, err := range n.archive.List(ctx, prefix+"entries-") {
			if err != nil {
				return err
			}
			var from, to int64
			if _, err := fmt.Sscanf(strings.TrimPrefix(e.Name, prefix), "entries-%d-%d.jsonl", &from, &to); err == nil {
				n.copied = max(n.copied, to)
			}
		}
	}
	if n.ledger.Stats().Size == n.copied {
		return nil
	}
	next, err := n.ledger.Export(ctx, n.copied, func(name string, data []byte) error {
		return n.archive.Create(ctx, prefix+name, data)
	})
	if err == nil {
		n.copied = next
	}
	return err
}
