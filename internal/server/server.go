package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/bus"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/queue"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sts"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

const (
	databaseFile = "sekisho.db"
	keyRingFile  = "keys.json"
	objectsDir   = "objects"
	queueDir     = "queue"

	readyKeys   = 128             // RSA keys made ahead of need
	readyDelay  = 5 * time.Second // and not before the start is over
	openReaders = 4
)

// Server is a whole server, ready to run.
type Server struct {
	opts    Options
	log     *slog.Logger
	account iot.AccountID
	admin   adminKey

	api       *http.Server
	device    *http.Server
	access    *mqttAccess
	admission *admission
	broker    *broker.Broker
	ledger    *uploads.Ledger
	desk      *uploads.Desk
	front     http.Handler                      // of the API port
	attach    func(net.Conn, broker.Attachment) // hands the broker a connection of a door, or one hijacked from an http.Server
	doorCert  getCertificate
	expiry    *expiryWatch
	metrics   *telemetry.Metrics
	exports   *telemetry.Exports // nil exports nothing
	db        *sqlstore.DB
	queue     *queue.Store
	disk      *disk

	keeper   *keyKeeper
	rotation sync.Mutex // held while the key ring changes, and while a backup copies what is sealed by it

	mu        sync.Mutex // guards the fields below
	endpoints Endpoints
	onStop    []func() error // the newest last
	stopped   bool
	closing   time.Time // when Close began, for the last export
}

// New opens the data folder, making what it lacks, and wires every room.
func New(ctx context.Context, o Options) (_ *Server, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := checkFirstKey(&o); err != nil {
		return nil, err
	}
	s := &Server{opts: o, log: o.Logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	changes := &bus.Bus{}
	r, err := s.openState(ctx, changes)
	if err != nil {
		return nil, err
	}
	if err := s.prepareAdmin(ctx, r.identities); err != nil {
		return nil, err
	}
	s.keepKeys(ctx, r, changes.Publish)
	s.openLedger()
	if err := s.openDesk(r); err != nil {
		return nil, err
	}
	if err := s.openBroker(ctx, r); err != nil {
		return nil, err
	}
	s.ledger.Start(ctx)
	changes.Subscribe(s.ledger.Invalidate)
	changes.Subscribe(s.broker.Invalidate) // the last: it asks the others anew
	return s, s.openFronts(r)              //nolint:contextcheck // rows run under the contexts of their requests
}

// openState opens the data folder and the services over it, which hear of changes.
func (s *Server) openState(ctx context.Context, changes *bus.Bus) (*rooms, error) {
	s.metrics = telemetry.NewMetrics(s.opts.Version)
	if err := s.openData(); err != nil {
		return nil, err
	}
	if err := s.openExports(ctx); err != nil {
		return nil, err
	}
	if err := s.openDisk(ctx); err != nil {
		return nil, err
	}
	var err error
	database := s.opts.databaseConfig()
	database.Readers, database.OnChange, database.Now = openReaders, changes.Publish, s.opts.Now
	if s.exports != nil {
		database.Watch = s.exports
	}
	s.db, err = sqlstore.Open(ctx, database)
	if err != nil {
		return nil, err
	}
	s.stop(s.db.Close)
	if err := bind(ctx, &s.opts, s.db); err != nil {
		return nil, err
	}
	if err := s.fixSettings(ctx); err != nil {
		return nil, err
	}
	r, err := s.openRooms(ctx)
	if err != nil {
		return nil, err
	}
	for _, invalidate := range []func(iot.Change){
		r.things.Invalidate, r.certificates.Invalidate, r.identities.Invalidate, r.aliases.Invalidate, r.objects.Invalidate,
	} {
		changes.Subscribe(invalidate)
	}
	return r, nil
}

// rooms are the services.
type rooms struct {
	authority    *pki.Authority
	things       *registry.Registry
	certificates *pki.Certificates
	identities   *iam.Service
	uses         *iam.Uses
	tokens       sts.Config
	sessions     *sts.Authenticator
	aliases      *sts.RoleAliases
	objects      *s3.Service
	engine       *local.Engine
}

// openRooms makes every service over the database.
func (s *Server) openRooms(ctx context.Context) (*rooms, error) {
	o, region := &s.opts, s.opts.Region
	keys, err := sts.OpenKeyRing(filepath.Join(o.Data, keyRingFile), o.Rand, o.Now)
	if err != nil {
		return nil, err
	}
	r := &rooms{}
	if r.authority, err = pki.Open(o.Data, o.Now, o.Rand); err != nil {
		return nil, err
	}
	pool := pki.NewKeyPool(readyKeys, readyDelay, o.Rand, processorTime)
	s.stop(func() error { pool.Close(); return nil })
	r.things = registry.New(registry.Config{
		Things: s.db.Registry(), Policies: s.db.Registry(), Tags: s.db.Registry(),
		Types: s.db.Registry(), Groups: s.db.Registry(), Events: s.db.Registry(), Index: s.db.Registry(), Publish: s.publishEvent, Online: s.online,
		Account: s.account, Region: region, Now: o.Now, Rand: o.Rand,
	})
	r.certificates = pki.New(pki.Config{
		Store: s.db.Certificates(), CAs: s.db.Certificates(), Authority: r.authority, Keys: pool,
		Account: s.account, Region: region, Now: o.Now, Rand: o.Rand,
	})
	r.identities, err = iam.New(iam.Config{
		Account: s.account, Store: s.db.IAM(), Sealer: keys.Sealer(sts.ForAccessKeys), Now: o.Now, Random: o.Rand, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := r.identities.PinTrust(ctx); err != nil {
		return nil, err
	}
	r.uses = iam.NewUses(ctx, s.db.IAM(), o.Logger)
	s.stop(r.uses.Close)
	r.tokens = sts.Config{
		Account: s.account, Region: region, Keys: keys, Now: o.Now,
		Directory: directory{r.identities}, Devices: devices{r.certificates, r.things},
	}
	r.sessions = sts.NewAuthenticator(r.tokens)
	r.aliases = sts.NewRoleAliases(s.account, region, s.db.STS(), o.Now)
	engine, err := local.Open(ctx, local.Config{
		Dir: filepath.Join(o.Data, objectsDir), Store: s.db.Objects(), Fast: o.S3Durability == "fast", Disk: s.disk,
		Now: o.Now, Rand: o.Rand, Log: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.stop(engine.Close)
	r.engine = engine
	r.objects = s3.New(s3.Config{Store: s.db.Buckets(), Engine: engine, Region: region, Now: o.Now, Rand: o.Rand, Log: o.Logger, Failed: s.uploadFailed})
	return r, nil
}

// openFronts makes the HTTP servers; nothing listens yet.
func (s *Server) openFronts(r *rooms) error {
	o := &s.opts
	serverCert, ownCert, err := s.serverCertificate(r.authority)
	if err != nil {
		return err
	}
	s.expiry = &expiryWatch{
		certificates: r.certificates, authority: r.authority, own: ownCert, shown: serverCert,
		figures: s.metrics.Certificates(), log: o.Logger, now: o.Now,
	}
	own := &ownHandler{rootPEM: r.authority.RootPEM(), metrics: s.metrics, ready: s.db.Ping, full: s.disk.Full}
	websocket := api.NewWebSocket(api.WebSocketOptions{Attach: s.attach, PublicHosts: o.PublicHosts, Logger: o.Logger, Now: o.Now})
	messages := sts.NewMessages(r.tokens.Keys, o.Now)
	front, err := api.New(api.Options{
		Services: []api.Service{
			api.IoTData(s.broker),
			api.IoT(r.things, r.certificates, r.aliases, s.deviceEndpoint),
			api.IAM(r.identities, r.uses),
			api.STS(sts.NewAssumer(r.tokens, o.Logger), r.sessions, messages),
			api.S3(r.objects),
			api.Sekisho(s.info, &api.Explainer{Registry: r.things, Certificates: r.certificates, Sessions: r.sessions, S3: r.objects},
				&api.Uploads{Ledger: s.ledger, Door: s.db.Uploads(), Aliases: r.aliases, S3: r.objects},
				&api.Maintenance{Backups: &backups{s: s, engine: r.engine, queue: s.queue}, Keys: s.keeper}),
		},
		Authenticator: r.sessions, Account: s.account, Region: o.Region, PublicHosts: o.PublicHosts,
		Own: own.handler(), MQTT: websocket, Room: s.disk.Room, Observer: s.metrics, Tracer: s.tracer(), Uses: r.uses, Denials: messages, Logger: o.Logger, Now: o.Now, Rand: o.Rand,
	})
	if err != nil {
		return err
	}
	s.front = front
	s.api = newHTTPServer(steadily(front), apiTLS(serverCert), o.Logger)
	credentials := api.NewCredentialEndpoint(api.CredentialOptions{
		Provider: sts.NewProvider(r.tokens, r.aliases, o.Logger), PublicHosts: o.PublicHosts,
		Observer: s.metrics, Tracer: s.tracer(), Logger: o.Logger, Now: o.Now, Rand: o.Rand,
	})
	s.doorCert = serverCert
	publish := api.NewPublishEndpoint(api.PublishOptions{
		Access: s.access, Messages: s.broker, PublicHosts: o.PublicHosts, Observer: s.metrics, Tracer: s.tracer(), Logger: o.Logger, Now: o.Now, Rand: o.Rand,
	})
	s.device = newHTTPServer(api.DevicePort(credentials, publish, front.DeviceMQTT()), deviceTLS(serverCert, "h2", "http/1.1"), o.Logger)
	s.device.ConnContext = credentials.ConnContext
	s.device.ReadTimeout, s.device.WriteTimeout = deviceTimeout, deviceTimeout
	return nil
}

// openBroker makes the broker, which reads back what it kept.
func (s *Server) openBroker(ctx context.Context, r *rooms) error {
	o := &s.opts
	profile, limits, err := o.mqttLimits()
	if err != nil {
		return err
	}
	figures := s.metrics.MQTT()
	s.access = newMQTTAccess(r, s.account, o, s.metrics.Deny)
	s.admission = newAdmission(&admission{
		certificates: r.certificates, publish: ownMessages{s}.tell, refused: figures.Refused, log: o.Logger, now: o.Now,
	}, o.PublicHosts)
	if s.queue, err = queue.Open(filepath.Join(o.Data, queueDir), queue.Options{Log: o.Logger}); err != nil {
		return err
	}
	s.stop(s.queue.Close)
	if err := r.things.ClearConnectivity(ctx); err != nil { // a full disk must not keep it from starting
		o.Logger.LogAttrs(ctx, slog.LevelError, "who was connected before is still said to be", slog.Any("error", err))
	}
	came := newPresence(r.things.SetConnectivity, o.Logger)
	s.broker, err = broker.New(ctx, broker.Config{
		Profile: profile, Limits: limits, Access: s.access, Store: s.queue, Full: s.disk.Full,
		Observer: figures, Logger: o.Logger, Now: o.Now, Rand: o.Rand, Presence: came.take,
		Taps: append(s.uploadTaps(), broker.Tap{Filters: uploads.DoorFilters(), Take: s.askDesk, Wait: true}),
	})
	if err != nil {
		return err
	}
	s.stop(s.broker.Close)
	go came.run(context.WithoutCancel(ctx))
	s.stop(came.Close)
	s.attach = func(c net.Conn, a broker.Attachment) {
		s.admission.bound(context.WithoutCancel(ctx), &a.Peer)
		s.broker.Attach(tlsConn(c), a)
	}
	return nil
}

// openData makes the data folder this process's own.
func (s *Server) openData() error {
	if err := makeDataDir(s.opts.Data); err != nil {
		return err
	}
	lock, err := lockData(s.opts.Data)
	if err != nil {
		return err
	}
	s.stop(lock.Close)
	if err := checkWhole(&s.opts); err != nil {
		return err
	}
	if err := removeStaleBackups(s.opts.Data); err != nil {
		return err
	}
	return removeEndpoints(s.opts.Data)
}

// fixSettings keeps region and account as they were at the first start, and
// refuses a start that names others.
func (s *Server) fixSettings(ctx context.Context) error {
	fixed := func(name string, value *string, byDefault string) error {
		want := *value
		if want == "" {
			want = byDefault
		}
		kept, err := s.db.FixSetting(ctx, name, want)
		if err != nil {
			return err
		}
		if *value != "" && kept != *value {
			return usagef("--%s %s: this data folder was made for %s, and that cannot change", name, *value, kept)
		}
		*value = kept
		return nil
	}
	if err := fixed("region", &s.opts.Region, DefaultRegion); err != nil {
		return err
	}
	if err := fixed("account-id", &s.opts.AccountID, DefaultAccountID); err != nil {
		return err
	}
	s.account = iot.AccountID(s.opts.AccountID)
	return nil
}

// serverCertificate returns what handshakes show, and what of it is ours to renew.
func (s *Server) serverCertificate(a *pki.Authority) (getCertificate, *pki.ServerCertificate, error) {
	if s.opts.TLSCert != "" {
		f, err := openCertificateFiles(s.opts.TLSCert, s.opts.TLSKey, s.opts.Now, s.log)
		if err != nil {
			return nil, nil, err
		}
		return f.Certificate, nil, nil
	}
	c, err := a.Server(s.opts.PublicHosts, s.opts.Region)
	if err != nil {
		return nil, nil, err
	}
	return c.Certificate, c, nil
}

// prepareAdmin makes the administrator's key at the first start, and keeps what
// `sekisho env` prints in step with the settings.
func (s *Server) prepareAdmin(ctx context.Context, identities *iam.Service) error {
	k, made, err := loadAdminKey(&s.opts)
	if err != nil {
		return err
	}
	if made {
		if err := identities.EnsureAdmin(ctx, k.AccessKeyID, k.SecretAccessKey); err != nil {
			if iot.IsKind(err, iot.KindInvalid) {
				return usagef("administrator's access key: %v", err)
			}
			return err
		}
	}
	kept := k
	k.Region, k.AccountID, k.PublicHost = s.opts.Region, s.opts.AccountID, s.opts.PublicHosts[0]
	s.admin = k
	if k == kept {
		return nil // a start on a full disk has to succeed, so that something can be deleted
	}
	return k.save(s.opts.Data)
}

// stop has fn called when the server stops, before what was registered earlier.
func (s *Server) stop(fn func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onStop = append(s.onStop, fn)
}

// Close stops everything, newest first. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	stops := s.onStop
	s.onStop, s.stopped = nil, true
	if s.exports != nil && s.closing.IsZero() {
		s.closing = s.opts.Now()
	}
	s.mu.Unlock()
	var err error
	for _, stop := range slices.Backward(stops) {
		err = errors.Join(err, stop())
	}
	return err
}

// Run listens until ctx ends or a listener fails, then drains and closes.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	failed := make(chan error, 4)
	if err := s.Start(ctx, failed); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		s.log.InfoContext(ctx, "stopping")
		return nil
	case err := <-failed:
		return err
	}
}

// Start listens, says so in endpoints.json and in the log, and returns. What
// ends a listener later is sent to failed, which must have room for four.
func (s *Server) Start(ctx context.Context, failed chan<- error) error {
	s.warnUnbuilt(ctx)
	s.watchDatabase(ctx, failed)
	var e Endpoints
	var f fronts
	s.stop(func() error { return f.stop(context.WithoutCancel(ctx)) })
	if s.opts.APIListen != "" {
		l, err := s.listen(ctx, "--api-listen", s.opts.APIListen)
		if err != nil {
			return err
		}
		e.API = l.Addr().String()
		f.run(s.api, newSplitListener(l, s.api.TLSConfig, s.opts.refusePlainHTTP()), failed)
	}
	if err := s.openDoors(ctx, &f, &e, failed); err != nil {
		return err
	}
	s.mu.Lock()
	s.endpoints = e
	s.mu.Unlock()
	if err := writeEndpoints(s.opts.Data, e); err != nil {
		return err
	}
	s.stop(func() error { return removeEndpoints(s.opts.Data) })
	s.stop(s.expiry.start(context.WithoutCancel(ctx)))
	s.log.InfoContext(ctx, "ready",
		slog.String("version", s.opts.Version), slog.String("region", s.opts.Region), slog.String("account", s.opts.AccountID),
		slog.String("api", e.API), slog.String("mqtt", e.MQTT), slog.String("device_https", e.DeviceHTTPS), slog.String("data", s.opts.Data))
	return nil
}

// openDoors listens on the ports for devices. Both speak both protocols, and
// share one http.Server and the processors that handshakes may take.
func (s *Server) openDoors(ctx context.Context, f *fronts, e *Endpoints, failed chan<- error) error {
	gate := broker.NewGate(max(1, runtime.GOMAXPROCS(0)-1))
	var handed *handedListener
	for _, p := range []struct {
		flag, addr string
		bound      *string
		mqtt       bool
		protocols  []string
	}{
		{"--mqtt-listen", s.opts.MQTTListen, &e.MQTT, true, []string{alpnMQTT, alpnMQTTCustom, alpnHTTP}},
		{"--device-https-listen", s.opts.DeviceHTTPSListen, &e.DeviceHTTPS, false, []string{"h2", "http/1.1", alpnHTTP, alpnMQTT}},
	} {
		if p.addr == "" {
			continue
		}
		l, err := s.listen(ctx, p.flag, p.addr)
		if err != nil {
			return err
		}
		*p.bound = l.Addr().String()
		if handed == nil {
			handed = newHandedListener(l.Addr())
			f.run(s.device, handed, failed)
		}
		f.open(newDoor(doorConfig{
			listener: l, tls: deviceTLS(s.doorCert, p.protocols...), mqtt: p.mqtt, gate: gate,
			admit: s.admission.peer, arrive: s.admission.arrive, attach: s.attach, http: handed,
		}), failed)
	}
	return nil
}

// warnUnbuilt names the listeners that were asked for and are not there.
func (s *Server) warnUnbuilt(ctx context.Context) {
	if s.opts.SIMListen != "" {
		s.log.WarnContext(ctx, "the closed network is not built yet: --sim-listen is ignored")
	}
}

func (s *Server) listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	// What is dead is found out within four minutes, and radios may sleep for two.
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 4}}
	network := "tcp"
	if a, err := netip.ParseAddrPort(addr); err == nil && a.Addr().Is4() {
		network = "tcp4" // 0.0.0.0 would listen on IPv6 as well
	}
	l, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l, nil
}

// Endpoints returns the addresses really bound.
func (s *Server) Endpoints() Endpoints {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints
}

// deviceEndpoint is what DescribeEndpoint answers from.
func (s *Server) deviceEndpoint() api.DeviceEndpoint {
	d := api.DeviceEndpoint{Host: s.opts.PublicHosts[0]}
	if _, port, err := net.SplitHostPort(s.Endpoints().DeviceHTTPS); err == nil {
		d.CredentialPort, _ = strconv.Atoi(port)
	}
	return d
}

func (s *Server) info() api.Info {
	e := s.Endpoints()
	i := api.Info{Version: s.opts.Version, Region: s.opts.Region, AccountID: s.opts.AccountID}
	if e.API != "" {
		i.Endpoints.S3 = apiURL(e.API, s.admin.PublicHost)
	}
	if e.MQTT != "" {
		i.Endpoints.MQTT = reachable(e.MQTT, s.admin.PublicHost)
	}
	if e.DeviceHTTPS != "" {
		i.Endpoints.Credentials = reachable(e.DeviceHTTPS, s.admin.PublicHost)
	}
	return i
}
