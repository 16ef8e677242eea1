"""Opening of video files; files that are no video are refused."""

import io
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.stream import VideoStream

from kinema.errors import MediaError

# FFmpeg's demuxers of video files and streams. Excluded are those that render text (tty, bin, xbin), open further files
# (concat, hls, dash, image2), read single images, subtitles or sound, or need the format as an option (rawvideo).
DEMUXERS = (
    "mov,matroska,avi,flv,live_flv,kux,asf,asf_o,mpeg,mpegts,mpegtsraw,mpegvideo,m4v,h261,h263,h264,hevc,vvc,evc,av1,"
    "obu,ivf,avs,avs2,avs3,cavsvideo,dirac,dnxhd,dv,vc1,vc1test,mjpeg,mpjpeg,smjpeg,mjpeg_2000,ogg,nut,nuv,nsv,mxf,"
    "gxf,lxf,rm,ivr,wtv,ty,yuv4mpegpipe,mlv,cine,ser,swf,dhav,ipu,apv,moflex,gif,apng,jpegxl_anim,thp,smk,bink,roq,"
    "film_cpk,flic,idcin,vmd,wc3movie,4xm,ea,bfi,bethsoftvid,c93,mm,mvi,mv,mtv,pva,pmp,rl2,rpl,sga,smush,usm,vivo,"
    "vividas,xmv,yop,iv8,ifv,lmlm4,pdv"
)
_STILL_BRANDS = ("heic", "heix", "heim", "heis", "mif1", "avif")


_most_pixels = 0


def limit_pixels(most: int) -> None:
    """Refuse frames of more pixels in this process, as a server does; 0: FFmpeg's own limit."""
    global _most_pixels
    _most_pixels = most


def open_container(source: str | bytes | BinaryIO, *, path: str, **options: Any) -> InputContainer:
    """Open a video file for reading: a local path, whatever characters its name and tags hold, or its bytes.

    A file object must be able to seek. `path` is the name of the video in messages, `options` are further ones of
    `av.open`.

    Raises:
        MediaError: FFmpeg cannot open it, or it is no video: text, an image, a playlist, sound.
    """
    # "file:" keeps a colon in the name from being taken for a protocol.
    file = f"file:{source}" if isinstance(source, str) else source
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    demuxers = {"format_whitelist": DEMUXERS, **options.pop("container_options", {})}
    try:
        container = av.open(file, mode="r", metadata_errors="replace", container_options=demuxers, **options)
    except InvalidDataError:
        raise MediaError(path, "it is empty, no video file, or its end is missing") from None
    except ArgumentError:
        raise MediaError(path, "it is no video file, but text, an image, a playlist, subtitles or sound") from None
    except FFmpegError as error:
        raise MediaError(path, error.strerror or str(error)) from None
    if container.metadata.get("major_brand") in _STILL_BRANDS:
        container.close()
        raise MediaError(path, "it is no video file, but an image")
    return container


def best_video(container: InputContainer, *, path: str, threads: int = 1) -> VideoStream:
    """Return FFmpeg's best video stream of a container, to be decoded with `threads` threads; 0: one per core.

    Raises:
        MediaError: No video stream can be decoded, or its frames are too large; see `limit_pixels`.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or not stream.codec_context:
        raise MediaError(path, "it has no video stream that can be decoded")
    if stream.disposition & Disposition.attached_pic:
        raise MediaError(path, "it has no video stream, only a cover image")
    if "enc_key_id" in stream.metadata:  # of Matroska
        raise MediaError(path, "it is encrypted")
    if _most_pixels:
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > _most_pixels:
            raise MediaError(path, f"frames of {width}x{height} are larger than {_most_pixels} pixels")
        stream.codec_context.options = {"max_pixels": str(_most_pixels)}
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "AUTO"
    return stream
