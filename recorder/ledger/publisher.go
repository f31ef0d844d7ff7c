package ledger

import (
	"context"
	"time"
)

// Publisher sends every new checkpoint to all places.
type Publisher struct {
	Ledger *Ledger
	Places []Place
	// Report is told of each try, with what went wrong or nil; nil reports
	// nothing. It is called concurrently.
	Report func(p Place, err error)
	// Retry is the first pause after a failure, which doubles up to a minute;
	// zero is a second.
	Retry time.Duration
}

// Run sends until ctx ends, and then once more what is newest.
func (p *Publisher) Run(ctx context.Context) {
	done := make(chan struct{})
	for _, place := range p.Places {
		go func() {
			p.serve(ctx, place)
			done <- struct{}{}
		}()
	}
	for range p.Places {
		<-done
	}
}

func (p *Publisher) serve(ctx context.Context, place Place) {
	var sent string
	first := p.Retry
	if first <= 0 {
		first = time.Second
	}
	pause := first
	for {
		latest, news := p.Ledger.Latest()
		var retry <-chan time.Time
		if string(latest) != sent {
			err := place.Send(ctx, latest)
			if ctx.Err() == nil && p.Report != nil {
				p.Report(place, err)
			}
			if err == nil {
				sent, pause = string(latest), first
				continue
			}
			retry, pause = time.After(pause), min(2*pause, time.Minute)
			news = nil
		}
		select {
		case <-ctx.Done():
			p.last(place, sent)
			return
		case <-news:
		case <-retry:
		}
	}
}

// last sends what a stopping node has signed at its end.
func (p *Publisher) last(place Place, sent string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if latest, _ := p.Ledger.Latest(); string(latest) != sent {
		if err := place.Send(ctx, latest); p.Report != nil {
			p.Report(place, err)
		}
	}
}
