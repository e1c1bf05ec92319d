package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// user is a value that handlers and audits read from the scope.
var user = ctxreq.NewKey[string]("user")

// unary is ctxreq.Unary with its own Config.
func unary(c *ctxreq.Config) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo,
		handler grpc.UnaryHandler) (resp any, err error) {
		err = c.RPC(ctx, info.FullMethod, func(ctx context.Context) error {
			setUser(ctx)
			resp, err = handler(ctx, req)
			return err
		})
		return resp, answer(err)
	}
}

// stream is ctxreq.Stream with its own Config.
func stream(c *ctxreq.Config) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo,
		handler grpc.StreamHandler) error {
		return answer(c.RPC(ss.Context(), info.FullMethod, func(ctx context.Context) error {
			setUser(ctx)
			return handler(srv, scoped{ss, ctx})
		}))
	}
}

// scoped is a stream whose context is the scope's.
type scoped struct {
	grpc.ServerStream
	ctx context.Context
}

func (s scoped) Context() context.Context { return s.ctx }

func setUser(ctx context.Context) {
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md["user"]) == 1 {
		_ = user.Set(ctx, md["user"][0])
	}
}

// answer is the error that the client gets. If the handler chose a status, it is that status,
// without the text around it. Any other error becomes "internal error".
func answer(err error) error {
	var chosen interface{ GRPCStatus() *status.Status }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &chosen):
		return chosen.GRPCStatus().Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "deadline exceeded")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "canceled")
	}
	return status.Error(codes.Internal, "internal error")
}

// A server echoes a text and counts to a number, and audits each RPC.
type server struct {
	scopes  ctxreq.Config
	reports reports
	leaky   bool
	grpc    *grpc.Server
	wire    *bufconn.Listener
	serving sync.WaitGroup
	slow    chan struct{} // the audit's downstream, which never answers
}

func startServer(leaky bool) *server {
	s := &server{leaky: leaky, wire: bufconn.Listen(1 << 16), slow: make(chan struct{})}
	s.scopes.Reporter = &s.reports
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(unary(&s.scopes)), grpc.StreamInterceptor(stream(&s.scopes)))
	s.grpc.RegisterService(&desc, s)
	s.serving.Go(func() { _ = s.grpc.Serve(s.wire) })
	return s
}

// stop ends the server, and the audits that the leaky one left behind.
func (s *server) stop() {
	s.grpc.Stop()
	s.serving.Wait()
	close(s.slow)
}

// audit starts a goroutine that outlives the handler unless something ends it.
func (s *server) audit(ctx context.Context) error {
	if s.leaky {
		go s.write(context.WithoutCancel(ctx)) // retains the RPC's context
		return nil
	}
	return ctxreq.From(ctx).Go("audit", func(ctx context.Context) error {
		s.write(ctx)
		return nil
	})
}

// write sends to a downstream that does not answer.
func (s *server) write(ctx context.Context) {
	select {
	case <-s.slow:
	case <-ctx.Done():
	}
}

// settle waits until the last RPCs have ended. A client gets its answer a little earlier.
func (s *server) settle() {
	end := time.Now().Add(5 * time.Second)
	for len(s.scopes.InFlight()) > 0 && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
}

type text = wrapperspb.StringValue

func (s *server) echo(ctx context.Context, in *text) (*text, error) {
	switch in.Value {
	case "panic":
		panic("connect postgres://app:hunter2@db/app")
	case "not found":
		err := status.Error(codes.NotFound, "no such text")
		return nil, fmt.Errorf("looking in /var/lib: %w", err)
	case "failing audit":
		scope := ctxreq.From(ctx)
		_ = scope.Go("audit", func(context.Context) error {
			return errors.New("the audit's disk is full")
		})
		_ = scope.Wait()
	case "failing cleanup":
		_ = ctxreq.From(ctx).Defer(func(context.Context) error {
			return errors.New("the temporary file is gone")
		})
	}
	if err := s.audit(ctx); err != nil {
		return nil, err
	}
	name, _ := user.Get(ctx)
	return wrapperspb.String(in.Value + ", " + name), nil
}

func (s *server) count(n *wrapperspb.Int32Value, ss grpc.ServerStream) error {
	if err := s.audit(ss.Context()); err != nil {
		return err
	}
	for i := range n.Value {
		if err := ss.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return nil
}

// desc is what protoc would generate from a service of two methods.
var desc = grpc.ServiceDesc{
	ServiceName: "leaksafe.Echo",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echoHandler}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Count", ServerStreams: true, Handler: countHandler},
	},
}

func echoHandler(srv any, ctx context.Context, decode func(any) error,
	interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/leaksafe.Echo/Echo"}
	return interceptor(ctx, in, info, func(ctx context.Context, req any) (any, error) {
		return srv.(*server).echo(ctx, req.(*wrapperspb.StringValue))
	})
}

func countHandler(srv any, ss grpc.ServerStream) error {
	n := new(wrapperspb.Int32Value)
	if err := ss.RecvMsg(n); err != nil {
		return err
	}
	return srv.(*server).count(n, ss)
}

// reports is a Reporter that keeps the last report.
type reports struct {
	mu sync.Mutex
	r  *ctxreq.Report
}

func (r *reports) Report(_ context.Context, report *ctxreq.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.r = report
}

func (r *reports) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.r == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s in %s: %v", r.r.Kind, r.r.Info.Name, r.r.Err)
}

// A client calls the server over memory.
type client struct{ conn *grpc.ClientConn }

func (s *server) dial() (*client, error) {
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.wire.DialContext(ctx)
		}))
	return &client{conn}, err
}

func (c *client) close() { _ = c.conn.Close() }

func (c *client) echo(ctx context.Context, text string) (string, error) {
	out := new(wrapperspb.StringValue)
	ctx = metadata.AppendToOutgoingContext(ctx, "user", "ada")
	err := c.conn.Invoke(ctx, "/leaksafe.Echo/Echo", wrapperspb.String(text), out)
	return out.Value, err
}

// count receives n messages.
func (c *client) count(ctx context.Context, n int32, each func(*wrapperspb.StringValue)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "user", "ada")
	ss, err := c.conn.NewStream(ctx, &desc.Streams[0], "/leaksafe.Echo/Count")
	if err != nil {
		return err
	}
	if err := errors.Join(ss.SendMsg(wrapperspb.Int32(n)), ss.CloseSend()); err != nil {
		return err
	}
	for range n {
		m := new(wrapperspb.StringValue)
		if err := ss.RecvMsg(m); err != nil {
			return err
		}
		each(m)
	}
	return nil
}
