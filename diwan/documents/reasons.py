"""Why a document is not taken: a stable code for each reason, and what the sender can do about it."""

from __future__ import annotations

from enum import StrEnum

from diwan.domain.text import Localized


class Reason(StrEnum):
    """Codes are stored and sent to senders: add, never rename."""

    EMPTY = "document.empty"
    TOO_LARGE = "document.too_large"
    TOO_MANY_PAGES = "document.too_many_pages"
    EXECUTABLE = "document.executable"
    ARCHIVE = "document.archive"
    OFFICE = "document.office_file"
    OFFICE_MACROS = "document.office_macros"
    WEB_PAGE = "document.web_page"
    UNSUPPORTED = "document.unsupported_type"
    TYPE_MISMATCH = "document.type_mismatch"
    POLYGLOT = "document.two_formats_in_one"
    ENCRYPTED = "document.encrypted"
    ACTIVE_CONTENT = "document.active_content"
    EMBEDDED_FILES = "document.embedded_files"
    BOMB = "document.decompression_bomb"
    TOO_COSTLY = "document.too_costly_to_read"
    CORRUPT = "document.corrupt"
    TRUNCATED = "document.truncated"


def _all(ar: str, fr: str, en: str) -> Localized:
    return Localized(ar=ar, fr=fr, en=en)


MESSAGES: dict[Reason, Localized] = {
    Reason.EMPTY: _all(
        "الملف المرسل فارغ. المرجو التحقق منه ثم إرساله من جديد.",
        "Le fichier envoyé est vide. Vérifiez-le, puis envoyez-le de nouveau.",
        "The file you sent is empty. Check it, then send it again.",
    ),
    Reason.TOO_LARGE: _all(
        "حجم الملف يتجاوز الحد المسموح به. المرجو تقليص دقة المسح أو إرسال الوثائق كل واحدة في ملف.",
        "Le fichier dépasse la taille admise. Numérisez à une résolution plus basse ou envoyez un fichier par pièce.",
        "The file is larger than allowed. Scan at a lower resolution, or send one file for each document.",
    ),
    Reason.TOO_MANY_PAGES: _all(
        "عدد صفحات الملف يتجاوز الحد المسموح به. المرجو إرسال كل وثيقة في ملف مستقل.",
        "Le fichier compte trop de pages. Envoyez chaque pièce dans un fichier séparé.",
        "The file has too many pages. Send each document as a file of its own.",
    ),
    Reason.EXECUTABLE: _all(
        "هذا الملف برنامج وليس وثيقة. المرجو إرسال الوثيقة بصيغة PDF أو صورة.",
        "Ce fichier est un programme, non un document. Envoyez la pièce en PDF ou en image.",
        "This file is a program, not a document. Send the document as a PDF or an image.",
    ),
    Reason.ARCHIVE: _all(
        "الملفات المضغوطة غير مقبولة. المرجو إرسال كل وثيقة على حدة بصيغة PDF أو صورة.",
        "Les archives compressées ne sont pas acceptées. Envoyez chaque pièce séparément, en PDF ou en image.",
        "Compressed archives are not accepted. Send each document separately, as a PDF or an image.",
    ),
    Reason.OFFICE: _all(
        "ملفات معالجة النصوص والجداول غير مقبولة. المرجو حفظ الوثيقة بصيغة PDF ثم إرسالها.",
        "Les fichiers de bureautique ne sont pas acceptés. Enregistrez le document en PDF, puis envoyez-le.",
        "Office files are not accepted. Save the document as a PDF, then send it.",
    ),
    Reason.OFFICE_MACROS: _all(
        "يتضمن الملف وحدات ماكرو (برامج). المرجو حفظ الوثيقة بصيغة PDF ثم إرسالها.",
        "Le fichier contient des macros (des programmes). Enregistrez le document en PDF, puis envoyez-le.",
        "The file contains macros (programs). Save the document as a PDF, then send it.",
    ),
    Reason.WEB_PAGE: _all(
        "صفحات الويب غير مقبولة. المرجو طباعة الصفحة بصيغة PDF ثم إرسالها.",
        "Les pages web ne sont pas acceptées. Imprimez la page en PDF, puis envoyez-la.",
        "Web pages are not accepted. Print the page to a PDF, then send it.",
    ),
    Reason.UNSUPPORTED: _all(
        "صيغة الملف غير مقبولة. الصيغ المقبولة: PDF أو PNG أو JPEG أو TIFF أو نص بترميز UTF-8.",
        "Ce format n'est pas accepté. Formats acceptés : PDF, PNG, JPEG, TIFF ou texte en UTF-8.",
        "This format is not accepted. Accepted formats: PDF, PNG, JPEG, TIFF, or text in UTF-8.",
    ),
    Reason.TYPE_MISMATCH: _all(
        "اسم الملف أو نوعه المصرح به لا يطابق محتواه. المرجو تصحيح الاسم أو حفظ الوثيقة من جديد ثم إرسالها.",
        "Le nom ou le type annoncé du fichier ne correspond pas à son contenu. Corrigez-le ou enregistrez de nouveau "
        "le document, puis envoyez-le.",
        "The file's name or declared type does not match its content. Correct it, or save the document again, then "
        "send it.",
    ),
    Reason.POLYGLOT: _all(
        "يتضمن الملف صيغتين في آن واحد. المرجو طباعة الوثيقة بصيغة PDF ثم إرسالها.",
        "Le fichier contient deux formats à la fois. Imprimez le document en PDF, puis envoyez-le.",
        "The file holds two formats at once. Print the document to a PDF, then send it.",
    ),
    Reason.ENCRYPTED: _all(
        "الملف محمي بكلمة سر. المرجو إزالة الحماية ثم إرساله من جديد.",
        "Le fichier est protégé par un mot de passe. Retirez la protection, puis envoyez-le de nouveau.",
        "The file is protected by a password. Remove the protection, then send it again.",
    ),
    Reason.ACTIVE_CONTENT: _all(
        "يتضمن ملف PDF أوامر قابلة للتنفيذ (نماذج تفاعلية أو سكريبت). المرجو طباعته بصيغة PDF ثم إرساله.",
        "Le PDF contient des commandes exécutables (script, formulaire interactif). Imprimez-le en PDF, puis envoyez "
        "le résultat.",
        "The PDF contains commands that can run (a script, an interactive form). Print it to a PDF, then send that.",
    ),
    Reason.EMBEDDED_FILES: _all(
        "يتضمن ملف PDF ملفات أخرى مرفقة داخله. المرجو إرسال كل وثيقة على حدة.",
        "Le PDF contient d'autres fichiers joints. Envoyez chaque pièce séparément.",
        "The PDF has other files attached inside it. Send each document separately.",
    ),
    Reason.BOMB: _all(
        "يتضخم محتوى الملف عند فتحه إلى حد غير مقبول. المرجو طباعة الوثيقة بصيغة PDF ثم إرسالها.",
        "Le contenu du fichier grossit démesurément à l'ouverture. Imprimez le document en PDF, puis envoyez-le.",
        "The file's content grows beyond bounds when opened. Print the document to a PDF, then send it.",
    ),
    Reason.TOO_COSTLY: _all(
        "تعذرت قراءة الملف في الوقت المتاح. المرجو طباعة الوثيقة بصيغة PDF ثم إرسالها.",
        "Le fichier n'a pas pu être lu dans le temps imparti. Imprimez le document en PDF, puis envoyez-le.",
        "The file could not be read within the time allowed. Print the document to a PDF, then send it.",
    ),
    Reason.CORRUPT: _all(
        "الملف معطوب وتعذر فتحه. المرجو حفظ الوثيقة من جديد أو إعادة مسحها ثم إرسالها.",
        "Le fichier est endommagé et ne s'ouvre pas. Enregistrez ou numérisez de nouveau le document, puis envoyez-le.",
        "The file is damaged and does not open. Save or scan the document again, then send it.",
    ),
    Reason.TRUNCATED: _all(
        "وصل الملف ناقصا. المرجو إرساله من جديد.",
        "Le fichier est arrivé incomplet. Envoyez-le de nouveau.",
        "The file arrived incomplete. Send it again.",
    ),
}


class NotTaken(Exception):
    """Raised inside this package where a check decides; never leaves it."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.value)
