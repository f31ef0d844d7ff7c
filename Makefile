# Two commands matter: `make demo` to try Sallyport, `make test` to test it.
GO    ?= go
BIN   := bin
DIST  := replay/web/static/dist
FRONT := replay/web/frontend
DEMO_FLAGS ?=

.PHONY: all build web demo demo-once test setup unit fuzz crash lint bench clean screenshots

all: build

build: web ## the product and the demo, with the player inside
	$(GO) build -trimpath -o $(BIN)/ ./cmd/...

web: $(DIST)/.built ## bundle the player

$(DIST)/.built: $(FRONT)/package-lock.json $(wildcard $(FRONT)/*.mjs $(FRONT)/src/*)
	cd $(FRONT) && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	touch $@

demo: build ## everything on loopback, one recorded session, and what to paste next
	$(BIN)/demo $(DEMO_FLAGS)

demo-once: build
	$(BIN)/demo --once

setup: ## Debian packages that the tests drive
	./testdata/setup.sh

test: setup build ## everything
	SALLYPORT_TEST_REQUIRE=1 $(GO) test -race -p 1 -timeout 20m ./...
	$(BIN)/demo --once

unit:
	$(GO) test ./...

fuzz: ## each fuzz target for a while
	./testdata/fuzz.sh

bench:
	$(GO) test -run '^$$' -bench . -benchtime 3s ./...

crash: ## kill the bastion a thousand times
	SALLYPORT_CRASH_ROUNDS=1000 SALLYPORT_TEST_REQUIRE=1 $(GO) test -count=1 -v -timeout 60m -run KilledAtAnyMoment ./cmd/sallyport

lint: ## gofmt, vet, staticcheck, and govulncheck where its database can be reached
	./testdata/lint.sh

screenshots: build ## the pictures in docs/images
	SALLYPORT_WRITE_SCREENSHOT=1 SALLYPORT_TEST_REQUIRE=1 $(GO) test -count=1 -run Screenshot ./replay/web ./cmd/sallyport

clean:
	rm -rf $(BIN) $(DIST)/*.js $(DIST)/*.css $(DIST)/*.wasm $(DIST)/.built $(FRONT)/node_modules
