package ctxreq

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
)

// RPC runs call in a scope and ends the scope, on every path. It is like Run, for a caller that
// must not see internal errors: it returns the error of call unchanged, and nothing else. Errors of
// children and cleanups go to the Reporter. A panic is reported, and the caller gets a constant
// text with the request's ID, unless Config.Repanic is set. The same text replaces an error of call
// that has the panic of a child in it, as after return s.Wait().
//
// RPC is what an interceptor of any RPC library needs; see examples/grpc.
func (c *Config) RPC(parent context.Context, method string, call func(context.Context) error) (err error) {
	if call == nil {
		panic(nilFunction("RPC", method))
	}
	ctx, s := c.Start(parent, method)
	s.state.Load().client = true
	returned := false
	defer func() {
		var p any
		if !returned {
			p = recover()
			err = s.unwound(p, debug.Stack())
		}
		id, told := s.id(), returned && !errors.As(err, new(reported))
		if !told {
			s.reportFresh(err) // what the call returned beside the panic of a child
		}
		s.End(err) // End reports its errors, because no caller gets them
		switch {
		case p != nil && c.Repanic:
			panic(p)
		case !told:
			err = fmt.Errorf("internal error, request %s", id)
		}
	}()
	err = call(ctx)
	returned = true
	return err
}

// Unary is a gRPC server interceptor without the dependency: write
// grpc.UnaryInterceptor(ctxreq.Unary) and Go infers the type parameters. It calls RPC with the name
// of the method and the Config of the scope around it, or the zero Config. For another Config call
// Config.RPC in an interceptor of your own.
func Unary[I any, H ~func(context.Context, any) (any, error)](ctx context.Context, req any, info I, handler H) (resp any, err error) {
	if handler == nil {
		panic(nilFunction("Unary", fullMethod(info)))
	}
	err = inherited(ctx, "Unary").RPC(ctx, fullMethod(info), func(ctx context.Context) error {
		resp, err = handler(ctx, req)
		return err
	})
	return resp, err
}

// Stream is Unary for streams: grpc.StreamInterceptor(ctxreq.Stream). The stream that the handler
// gets has the scope's context.
func Stream[MD any, S serverStream[MD], I any, H ~func(any, S) error](srv any, ss S, info I, handler H) error {
	if handler == nil {
		panic(nilFunction("Stream", fullMethod(info)))
	}
	ctx := ss.Context()
	return inherited(ctx, "Stream").RPC(ctx, fullMethod(info), func(ctx context.Context) error {
		return handler(srv, any(scopedStream[MD]{ss, ctx}).(S))
	})
}

// serverStream is grpc.ServerStream; MD is metadata.MD.
type serverStream[MD any] interface {
	SetHeader(MD) error
	SendHeader(MD) error
	SetTrailer(MD)
	Context() context.Context
	SendMsg(m any) error
	RecvMsg(m any) error
}

// scopedStream is a stream whose context is the scope's.
type scopedStream[MD any] struct {
	serverStream[MD]
	ctx context.Context
}

func (s scopedStream[MD]) Context() context.Context { return s.ctx }

// fullMethod reads the field FullMethod of *grpc.UnaryServerInfo and *grpc.StreamServerInfo.
func fullMethod(info any) string {
	v := reflect.Indirect(reflect.ValueOf(info))
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName("FullMethod"); f.Kind() == reflect.String {
			return f.String()
		}
	}
	return "rpc"
}
